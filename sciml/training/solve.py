"""`solve`: the one verb. Trains, keeps the run folder up to date, and returns a `Solution` whatever happens."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from torch import nn

from ..errors import ProblemError, TrainingError
from ..problem import Problem, load_problem
from ..solution import RunFolder, Solution
from .recipe import Recipe, make_recipe
from .training import Report, Training

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 10.0


def solve(problem: Problem | str | os.PathLike, *, out: str | os.PathLike | None = None, resume: bool = False,
          network: nn.Module | None = None, on_report: Callable[[Report], None] | None = None,
          set: dict | None = None, **options) -> Solution:
    """Solves a problem.

    Args:
        problem: A `Problem`, or the name or path of a problem file.
        out: Run folder to keep; None: nothing is written.
        resume: Continue the run in `out` from its checkpoint.
        network: Your own module (N, D) → (N, C) instead of `model`; conditions then stay in the loss.
        on_report: Called with every `Report`.
        set: Constants of the problem file to replace, and dotted options.
        options: Any option of `Recipe` (`model`, `optimizer`, `sampler`, `time`, `steps`, `seed`, …).

    Returns:
        The solution; its `status` is "ok" or a sentence (non-finite loss, interrupted by the user, …).

    Raises:
        ProblemError: Something does not make sense; nothing was trained.
    """
    overrides, dotted = split_settings(set or {})
    if not isinstance(problem, Problem):
        problem = load_problem(problem, overrides)
    elif overrides:
        raise ProblemError("set= replaces constants of problem files; build the Problem with other values instead")
    recipe = make_recipe(problem.defaults, {**options, **dotted})
    training = Training(problem, recipe, network)
    run = None if out is None else RunFolder(out)
    history: list[dict] = []
    if run is not None:
        history = _open(run, training, overrides, resume)
    elif resume:
        raise ProblemError("resume=True needs out=, the folder of the run to continue")
    status, state = _exhaust(training, run, history, on_report)
    config = config_of(training, overrides)
    solution = Solution(problem, training.objective, training.truth, history, config, status, state)
    if run is not None:
        solution.write_results(run)
    return solution


def split_settings(settings: dict) -> tuple[dict, dict]:
    """(constants of the problem, dotted options) from `--set` entries."""
    return ({k: v for k, v in settings.items() if "." not in k}, {k: v for k, v in settings.items() if "." in k})


def config_of(training: Training, overrides: dict) -> dict:
    """Content of config.json."""
    source = getattr(training.problem, "source", None)
    return {**training.recipe.as_dict(), "overrides": overrides,
            "problem": str(source.path.resolve()) if source else training.problem.title}


def _open(run: RunFolder, training: Training, overrides: dict, resume: bool) -> list[dict]:
    """Prepares a run folder; returns the reports so far."""
    if resume:
        state = run.load_checkpoint(training.recipe.device)
        try:
            training.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError) as error:
            raise ProblemError(f"{run.path}: the checkpoint does not fit this problem and recipe ({error}); resume with "
                               "the options of the run's config.json") from error
        run.truncate_metrics(training.step)
        run.write_json("config.json", config_of(training, overrides))
        return run.read_metrics()
    source = getattr(training.problem, "source", None)
    if source is not None:
        run.write_text("problem.py", source.text)
    run.write_json("config.json", config_of(training, overrides))
    run.write_text("metrics.jsonl", "")
    (run.path / "result.json").unlink(missing_ok=True)
    return []


def _exhaust(training: Training, run: RunFolder | None, history: list[dict],
             on_report: Callable[[Report], None] | None) -> tuple[str, dict]:
    """Runs to the end; returns the status and the last good state."""
    state = training.state_dict()
    if run is not None:
        run.save_checkpoint(state)
    saved, status = training.seconds, "ok"
    try:
        for report in training.run():
            if history and history[-1]["step"] == report.step:
                history.pop()
            elif run is not None:
                run.append_metrics(report.as_dict())
            history.append(report.as_dict())
            if on_report is not None:
                on_report(report)
            if run is not None and training.seconds - saved >= CHECKPOINT_SECONDS:
                state = training.state_dict()
                run.save_checkpoint(state)
                saved = training.seconds
        status = training.stopped or "ok"
    except TrainingError as error:
        status = str(error)
        log.warning("%s", status)
        training.load_state_dict(state)
        return status, state
    except KeyboardInterrupt:
        status = f"interrupted by the user at step {training.step}"
        report = training.report()
        history.append(report.as_dict())
        if run is not None:
            run.append_metrics(report.as_dict())
    state = training.state_dict()
    if run is not None:
        run.save_checkpoint(state)
    return status, state


def load_solution(path: str | os.PathLike, device: str | None = None) -> Solution:
    """The solution kept in a run folder.

    Raises:
        ProblemError: The folder is incomplete or damaged.
    """
    run = RunFolder(path)
    problem, recipe, config = load_run(run, device)
    training = Training(problem, recipe)
    state = run.load_checkpoint(recipe.device)
    training.load_state_dict(state)
    result = run.path / "result.json"
    status = run.read_json("result.json")["status"] if result.is_file() else "the run did not end"
    return Solution(problem, training.objective, training.truth, run.read_metrics(), config, status, state)


def load_run(run: RunFolder, device: str | None = None) -> tuple[Problem, Recipe, dict]:
    """Problem, recipe and config of a run folder."""
    config = run.read_json("config.json")
    path = run.path / "problem.py"
    if not path.is_file():
        raise ProblemError(f"{run.path} has no problem.py; only runs of problem files can be loaded")
    problem = load_problem(path, config.get("overrides", {}), origin=Path(config["problem"]))
    plain = {k: v for k, v in config.items() if k not in ("overrides", "problem")}
    if device is not None:
        plain["device"] = device
    return problem, Recipe(**plain), config
