"""The command line: `sciml solve, compare, check, plot, reference, list, bench`.

Each command is a thin shell round a function of the library. Errors of ours are printed as the sentence that they are, with exit
code 2 for input that makes no sense and 1 for a run that failed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ..errors import ProblemError, SciMLError
from . import bench, check, compare, listing, plotting, reference, solving

COMMANDS = {
    "solve": solving, "compare": compare, "check": check, "plot": plotting, "reference": reference, "list": listing,
    "bench": bench,
}


class _Parser(argparse.ArgumentParser):
    """Argument parser whose errors name the nearest valid choice."""

    def error(self, message: str):
        from ..errors import unknown_name

        if "unrecognized arguments" in message:
            flag = message.split(":")[1].split()[0]
            valid = [s for a in self._actions for s in a.option_strings]
            message = unknown_name("option", flag, valid)
        elif "invalid choice" in message and "'" in message:
            message = unknown_name("command", message.split("'")[1], COMMANDS)
        self.exit(2, f"sciml: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Parser of all commands."""
    from .. import __version__

    top = _Parser(prog="sciml", description="Neural PDE solvers: write a PDE in a Python file and solve it.")
    top.add_argument("--version", action="version", version=f"sciml {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(name, help=module.HELP, description=module.__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, parser=sub)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `sciml` command; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="sciml: %(message)s")
    logging.getLogger("sciml").setLevel(logging.ERROR)
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except ProblemError as error:
        print(f"sciml: {error}", file=sys.stderr)
        return 2
    except SciMLError as error:
        print(f"sciml: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sciml: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
