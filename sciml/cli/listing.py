"""List what can be chosen by name: problems, models, optimizers, samplers, activations, solvers.

    sciml list
    sciml list problems
"""

from __future__ import annotations

import ast
import inspect

from rich.table import Table

from ..calculus import ACTIVATIONS
from ..errors import look_up
from ..fields import NETWORKS
from ..optim import OPTIMIZERS
from ..problem import search_path
from ..references import SOLVERS
from ..sampling import SAMPLERS
from .show import console

HELP = "list problems, models, optimizers, samplers, …"


def first_line(thing) -> str:
    """First sentence of a docstring."""
    text = inspect.getdoc(thing) or ""
    return text.strip().splitlines()[0] if text.strip() else ""


def problems() -> dict[str, str]:
    """Problem files that can be named, with the first line of their docstrings."""
    found: dict[str, str] = {}
    for folder in search_path()[1:]:
        for path in sorted(folder.glob("*.py")):
            if path.stem not in found and not path.stem.startswith("_"):
                doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                found[path.stem] = doc.strip().splitlines()[0] if doc.strip() else ""
    return found


KINDS = {
    "problems": problems,
    "models": lambda: {n: first_line(c) for n, c in NETWORKS.items()},
    "optimizers": lambda: {n: first_line(c) for n, c in OPTIMIZERS.items()},
    "samplers": lambda: {n: first_line(c) for n, c in SAMPLERS.items()},
    "activations": lambda: {n: first_line(type(c)) for n, c in ACTIVATIONS.items()},
    "solvers": lambda: {n: first_line(f) for n, f in SOLVERS.items()},
}


def add_arguments(parser) -> None:
    """Arguments of `sciml list`."""
    parser.add_argument("kind", nargs="?", help=", ".join(KINDS))


def run(arguments) -> int:
    """Runs `sciml list`."""
    out = console()
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    for kind in kinds:
        entries = look_up("kind", kind, KINDS)()
        if len(kinds) > 1:
            out.print(f"[bold]{kind}[/]")
        table = Table(box=None, show_header=False, padding=(0, 2))
        for name, text in entries.items():
            table.add_row(name, text)
        out.print(table)
    return 0
