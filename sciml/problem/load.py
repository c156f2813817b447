"""Finding and running problem files.

A problem is named by a path, or by a bare name that is looked for in the current folder, in `./problems`, in
`$SCIML_PROBLEMS`, and in the checkout's `problems/`.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ProblemError, unknown_name
from .problem import Problem, Source


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
        # `problems/burgers.py` is found from everywhere, but a mistyped folder must not lead to another file.
        elsewhere = [folder / path.name for folder in search_path()[1:] if str(path.parent) in (".", folder.name)]
        for candidate in (path, *elsewhere):
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
    overrides = dict(overrides or {})
    text, tree = _parse(path)
    used = _override(tree, overrides)
    names = _execute(tree, path, origin or path)
    problem = names.get("problem")
    if not isinstance(problem, Problem):
        others = [n for n, value in names.items() if isinstance(value, Problem)]
        what = f"it calls its Problem {others[0]!r}; name it problem" if others else "write `problem = Problem(…)`"
        raise ProblemError(f"{path} defines no variable `problem`; {what}")
    missing = [k for k in overrides if k not in used and k not in problem.parameters]
    if missing:
        valid = [*problem.parameters, *_constants(ast.parse(text))]
        raise ProblemError(f"{unknown_name('constant of the problem', missing[0], valid)} An option of a run is given "
                           "by itself, as in --optimizer adam")
    given = {k: v for k, v in overrides.items() if k in problem.parameters}
    if given:
        parameters = {**problem.parameters, **given}
        try:
            problem = Problem(problem.domain, problem.unknowns, problem.conditions, parameters, problem.reference,
                              problem.defaults, problem.title)
        except ProblemError as error:
            raise ProblemError(f"{path.name}: {error}") from error
    doc = ast.get_docstring(tree) or ""
    object.__setattr__(problem, "source", Source(origin or path, text, doc, overrides))
    if not problem.title:
        object.__setattr__(problem, "title", doc.strip().splitlines()[0].rstrip(".") if doc.strip() else path.stem)
    return problem


def _parse(path: Path) -> tuple[str, ast.Module]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise ProblemError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise ProblemError(f"{path} is no Python file ({error})") from error
    except OSError as error:
        raise ProblemError(f"{path} cannot be read ({error.strerror})") from error


def _execute(tree: ast.Module, path: Path, shown: Path) -> dict[str, object]:
    """The names that a problem file defines."""
    module = ModuleType(f"sciml_problem_{path.stem}")
    module.__file__ = str(shown)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module                  # as dataclasses and pickle expect while the file runs
    try:
        exec(compile(tree, str(path), "exec", dont_inherit=True), module.__dict__)
    except ProblemError as error:
        raise ProblemError(f"{path.name}{_line_in(path)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ProblemError(f"{path.name}{_line_in(path)}: {type(error).__name__}: {error}") from error
    finally:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
    return module.__dict__


def _assigned(node: ast.stmt) -> str | None:
    """Name of a top-level `name = value` or `name: type = value`."""
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else \
        node.target if isinstance(node, ast.AnnAssign) and node.value is not None else None
    return target.id if isinstance(target, ast.Name) and target.id != "problem" else None


def _constants(tree: ast.Module) -> list[str]:
    return [name for name in map(_assigned, tree.body) if name is not None]


def _override(tree: ast.Module, overrides: Mapping[str, Any]) -> set[str]:
    """Replaces the values of top-level constants in place; returns the names found."""
    used: set[str] = set()
    for node in tree.body:
        name = _assigned(node)
        if name is not None and name in overrides and isinstance(node, (ast.Assign, ast.AnnAssign)):
            if isinstance(overrides[name], str) and not isinstance(getattr(node.value, "value", None), str):
                raise ProblemError(f"{name}={overrides[name]!r} must be a number")
            node.value = ast.copy_location(ast.Constant(overrides[name]), node)
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
