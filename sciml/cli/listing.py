"""List what can be chosen by name: problems, models, optimizers, samplers, activations, solvers.

    sciml list
    sciml list problems
"""

from __future__ import annotations

import ast
import inspect

from rich.table import Table
from rich.text import Text

from .. import generators, inputs
from ..balance import BALANCERS
from ..calculus import ACTIVATIONS
from ..errors import look_up
from ..fields import MODELS, SUMMARIES
from ..learning import OPERATORS, POINTS
from ..optim import EXTRA, OPTIMIZERS
from ..precondition import PRECONDITIONERS
from ..problem import search_path
from ..references import SOLVERS
from ..refine import REFINERS
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
    for folder in search_path():
        for path in sorted(folder.glob("*.py")):
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.stem in found or path.stem.startswith("_") or "problem" not in text:
                continue
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError) as error:
                if folder.name == "problems":
                    found[path.stem] = f"({path} cannot be read: {error})"
                continue
            if _defines_problem(tree):
                doc = (ast.get_docstring(tree) or "").strip()
                found[path.stem] = doc.splitlines()[0] if doc else ""
    return found


def _defines_problem(tree: ast.Module) -> bool:
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(t, ast.Name) and t.id == "problem" for t in targets)


KINDS = {
    "problems": problems,
    "models": lambda: {n: SUMMARIES.get(n) or first_line(c) for n, c in MODELS.items()},
    "operators": lambda: {n: first_line(m.cls) for n, m in {**OPERATORS, **POINTS}.items()},
    "inputs": lambda: {n: first_line(getattr(inputs, n)) for n in inputs.__all__ if n != "RandomFunction"},
    "generators": lambda: {n: first_line(getattr(generators, n)) for n in generators.__all__
                           if n not in ("Accuracy", "BatchSolver")},
    "optimizers": lambda: {**{n: first_line(c) for n, c in OPTIMIZERS.items()},
                           **dict.fromkeys(EXTRA, "of pytorch_optimizer: pip install 'sciml[optimizers]'")},
    "samplers": lambda: {n: first_line(c) for n, c in SAMPLERS.items()},
    "balancers": lambda: {n: first_line(c) for n, c in BALANCERS.items()},
    "preconditioners": lambda: {n: first_line(c) for n, c in PRECONDITIONERS.items()},
    "refiners": lambda: {n: first_line(c) for n, c in REFINERS.items()},
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
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, text in entries.items():
            table.add_row(Text(name), Text(text))
        out.print(table)
    return 0
