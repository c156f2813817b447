"""The command line: `sciml solve, compare, check, plot, reference, list, bench`.

Each command is a thin shell round a function of the library. Errors of ours are printed as the sentence that they are,
with exit code 2 for input that makes no sense and 1 for a run that failed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from ..errors import ProblemError, SciMLError, unknown_name
from . import bench, check, compare, listing, plotting, reference, solving
from .show import warn

COMMANDS = {
    "solve": solving, "compare": compare, "check": check, "plot": plotting, "reference": reference, "list": listing,
    "bench": bench,
}


class _Parser(argparse.ArgumentParser):
    """Argument parser whose errors name the nearest valid choice."""

    def error(self, message: str):
        if "invalid choice" in message and "'" in message:
            message = unknown_name("command", message.split("'")[1], COMMANDS)
        self.exit(2, f"sciml: {message}\n")

    def refuse(self, rest: Sequence[str]):
        """Ends with a sentence about arguments that no option takes."""
        flags = [r.split("=")[0] for r in rest if r.startswith("-")]
        valid = [s for a in self._actions for s in a.option_strings if s.startswith("--")]
        if flags and "." in flags[0] and "--set" in valid:
            name = flags[0].lstrip("-")
            self.error(f"unknown option {flags[0]!r}: what belongs to a part is set by --set {name}=VALUE")
        self.error(unknown_name("option", flags[0], valid) if flags else
                   f"{rest[0]!r} is one argument too many; `{self.prog} --help` shows what it takes")


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
    _listen()
    top = parser()
    if not (sys.argv[1:] if argv is None else argv):
        top.print_help()
        return 2
    arguments, rest = top.parse_known_args(argv)
    if rest:
        arguments.parser.refuse(rest)
    try:
        return int(arguments.run(arguments) or 0)
    except ProblemError as error:
        return _tell(error, 2)
    except SciMLError as error:
        return _tell(error, 1)
    except KeyboardInterrupt:
        return _tell("interrupted", 130)
    except BrokenPipeError:                             # the reader of a pipe (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.strerror is None:
            raise
        return _tell(f"{error.filename or 'a file'}: {error.strerror}", 1)


class _Console(logging.Handler):
    """Shows warnings of the library as sentences."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def _listen() -> None:
    log = logging.getLogger("sciml")
    if not any(isinstance(h, _Console) for h in log.handlers):
        log.addHandler(_Console(logging.WARNING))
    logging.getLogger("sciml.training.solve").setLevel(logging.ERROR)       # a run's status is shown at its end


def _tell(error: object, code: int) -> int:
    """Prints a sentence, on one line, and returns the exit code."""
    warn(" ".join(str(error).split()))
    return code


if __name__ == "__main__":
    sys.exit(main())
