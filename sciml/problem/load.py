"""Finding and running problem files.

A problem is named by a path, or by a bare name that is looked for in the current folder, in `./problems`, in
`$SCIML_PROBLEMS`, and in the checkout's `problems/`.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..errors import ProblemError, SciMLError, unknown_name
from .problem import Problem


@dataclass(frozen=True)
class Source:
    """Where a problem came from.

    Args:
        path: The file.
        text: Its source.
        doc: Its docstring.
        overrides: Values set from outside (`--set nu=0.02`).
    """

    path: Path
    text: str
    doc: str
    overrides: Mapping[str, object]


def search_path() -> list[Path]:
    """Folders in which a bare problem name is looked for."""
    places = [Path.cwd(), Path.cwd() / "problems"]
    places += [Path(p) for p in os.environ.get("SCIML_PROBLEMS", "").split(os.pathsep) if p]
    checkout = Path(__file__).resolve().parents[2] / "problems"
    return [*places, checkout]


def find_problem(name: str | os.PathLike) -> Path:
    """Path of a problem file from a path or a bare name."""
    path = Path(name)
    if path.suffix == ".py" or os.sep in str(name):
        for candidate in (path, *(folder / path.name for folder in search_path()[1:])):
            if candidate.is_file():
                return candidate
        raise ProblemError(f"there is no problem file {str(path)!r}")
    for folder in search_path():
        candidate = folder / f"{name}.py"
        if candidate.is_file() and "problem" in candidate.read_text(errors="replace"):
            return candidate
    names = {p.stem for folder in search_path()[1:] for p in folder.glob("*.py") if not p.stem.startswith("_")}
    raise ProblemError(unknown_name("problem", str(name), names))


def load_problem(name: str | os.PathLike, overrides: Mapping[str, object] | None = None,
                 origin: Path | None = None) -> Problem:
    """The problem defined by a file.

    Args:
        name: Path or bare name.
        overrides: Numbers to replace: entries of `parameters`, or top-level constants of the file.
        origin: Where the file was copied from; its reference is looked for there.

    Raises:
        ProblemError: No such file, the file fails, or it defines no `problem`.
    """
    path = find_problem(name)
    text = path.read_text(encoding="utf-8")
    overrides = dict(overrides or {})
    try:
        tree = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise ProblemError(f"{path}, line {error.lineno}: {error.msg}") from error
    used = _override(tree, overrides)
    module = ModuleType(f"sciml_problem_{path.stem}")
    module.__file__ = str(origin or path)
    try:
        exec(compile(tree, str(path), "exec"), module.__dict__)
    except SciMLError as error:
        raise ProblemError(f"{path.name}: {error}") from error
    except Exception as error:
        line = _line_in(path)
        raise ProblemError(f"{path.name}{line}: {type(error).__name__}: {error}") from error
    problem = getattr(module, "problem", None)
    if not isinstance(problem, Problem):
        raise ProblemError(f"{path} defines no variable `problem = Problem(…)`")
    missing = [k for k in overrides if k not in used and k not in problem.parameters]
    if missing:
        valid = [*problem.parameters, *_constants(ast.parse(text))]
        raise ProblemError(unknown_name("constant of the problem", missing[0], valid))
    given = {k: v for k, v in overrides.items() if k in problem.parameters}
    if given:
        parameters = {**problem.parameters, **given}
        problem = Problem(problem.domain, problem.unknowns, problem.conditions, parameters, problem.reference,
                          problem.defaults, problem.title)
    doc = ast.get_docstring(tree) or ""
    object.__setattr__(problem, "source", Source(origin or path, text, doc, overrides))
    if not problem.title:
        object.__setattr__(problem, "title", doc.strip().splitlines()[0].rstrip(".") if doc.strip() else path.stem)
    return problem


def _constants(tree: ast.Module) -> list[str]:
    return [node.targets[0].id for node in tree.body
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id != "problem"]


def _override(tree: ast.Module, overrides: Mapping[str, object]) -> set[str]:
    """Replaces the values of top-level constants in place; returns the names found."""
    used = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in overrides and name != "problem":
                node.value = ast.copy_location(ast.Constant(overrides[name]), node.value)
                used.add(name)
    ast.fix_missing_locations(tree)
    return used


def _line_in(path: Path) -> str:
    """", line 12" of the innermost frame of the current error in this file."""
    traceback, line = sys.exc_info()[2], None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f", line {line}" if line else ""
