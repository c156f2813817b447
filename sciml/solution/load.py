"""What a run folder says was solved, and how."""

from __future__ import annotations

from pathlib import Path

from ..errors import ProblemError
from ..objective import Recipe, recipe_from
from ..problem import Problem, load_problem
from .run import RunFolder


def load_run(run: RunFolder, device: str | None = None,
             problem: Problem | None = None) -> tuple[Problem, Recipe, dict]:
    """Problem, recipe and config of a run folder.

    Args:
        run: The folder.
        device: Instead of the one it was trained on.
        problem: The problem, if it was made in Python and not by a file.

    Raises:
        ProblemError: A file is missing or damaged.
    """
    if not run.path.is_dir():
        raise ProblemError(f"there is no run folder {str(run.path)!r}; `sciml solve` prints the folder that it writes")
    config = run.read_json("config.json")
    if run.holds_operator:
        raise ProblemError(f"{run.path} holds a solution operator; load it with sciml.OperatorSolution.load")
    where = f"{run.path / 'config.json'}"
    plain = {k: v for k, v in config.items() if k not in ("overrides", "problem")}
    if device is not None:
        plain["device"] = device
    recipe = recipe_from(plain, where)
    if problem is not None:
        return problem, recipe, config
    path = run.path / "problem.py"
    if not path.is_file():
        raise ProblemError(f"{run.path} has no problem.py: the run is of a problem made in Python; give it as problem=")
    overrides = config.get("overrides", {})
    if not isinstance(overrides, dict) or not isinstance(config.get("problem"), str):
        raise ProblemError(f"{where} is damaged: it does not say which problem with which constants was solved")
    return load_problem(path, overrides, origin=Path(config["problem"])), recipe, config
