"""`python -m sciml` is the `sciml` command (as `torchrun -m sciml` needs it)."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
