"""`solve`: the one verb. Trains, keeps the run folder up to date, and returns a `Solution` whatever happens."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ProblemError, TrainingError
from ..learning import OperatorRecipe, OperatorSolution, OperatorTraining, is_operator, make_operator_recipe
from ..learning.parallel import rank
from ..objective import Recipe, idle_parts, idle_settings, make_recipe, unused_options
from ..problem import Problem, load_problem
from ..solution import RunFolder, Solution
from .doubts import gaps
from .keeping import Keeper
from .training import Training

log = logging.getLogger(__name__)                   # a status; the command line shows it at the end
notes = logging.getLogger("sciml.notes")            # what a user should know


def plan(problem: Problem, options: Mapping[str, object]) -> Recipe | OperatorRecipe:
    """The recipe for a problem: of operator learning if the model is an operator, else of a field.

    A problem's defaults are for one of the two; asked for the other, they are left out.

    Args:
        problem: What is solved.
        options: The user's, which may be dotted.

    Raises:
        ProblemError: Something in them does not make sense.
    """
    defaults = problem.defaults
    own, asked = defaults.get("model"), options.get("model")
    learnt = is_operator(own if asked is None else asked)
    if learnt != is_operator(own):
        defaults = {}
    return make_operator_recipe(defaults, options) if learnt else make_recipe(defaults, options)


def plan_of(options: Mapping[str, object]) -> Recipe | OperatorRecipe:
    """The recipe that the options of a run spell out."""
    return make_operator_recipe({}, options) if is_operator(options.get("model")) else make_recipe({}, options)


def solve(problem: Problem | str | os.PathLike, *, out: str | os.PathLike | None = None, resume: bool = False,
          network: nn.Module | None = None, on_report: Callable[[Any], None] | None = None,
          set: dict | None = None, stop: Callable[[], str] | None = None,
          on_data: Callable[[int, int], None] | None = None, **options) -> Any:
    """Solves a problem.

    Args:
        problem: A `Problem`, or the name or path of a problem file.
        out: Run folder to keep; None: nothing is written.
        resume: Continue the run in `out` from its checkpoint.
        network: Your own module (N, D) → (N, C) instead of `model`; conditions then stay in the loss.
        on_report: Called with every `Report` (`Report`).
        set: Constants of the problem file to replace, and dotted options.
        stop: Asked after each step; a text that is not empty ends the run, and is its reason.
        on_data: Told (done, total) while the samples of an operator are made.
        options: Any option of `Recipe` (`model`, `optimizer`, `sampler`, `time`, `steps`, `seed`, …). `time` counts
            training steps only; what a run took with everything else is `wall_seconds` of the solution.

    Returns:
        A `Solution`, for operator models an `OperatorSolution`; its `status` is "ok" or a sentence (non-finite loss,
        interrupted by the user, …).

    Raises:
        ProblemError: Something does not make sense; nothing was trained.
    """
    start = time.perf_counter()
    overrides, dotted = split_settings(set or {})
    if not isinstance(problem, Problem):
        problem = load_problem(problem, overrides)
    elif overrides:
        raise ProblemError("set= replaces constants of problem files; build the Problem with other values instead")
    recipe = plan(problem, {**options, **dotted})
    if out is not None:
        RunFolder(out).check()                                 # before samples are made and anything is set up
    training: Training | OperatorTraining
    if isinstance(recipe, OperatorRecipe):
        if network is not None:
            raise ProblemError(f"network= is a field of points, and model={recipe.model} learns an operator; leave one "
                               "of them out")
        training = OperatorTraining(problem, recipe, on_data)
        if rank():                                             # the first process alone writes and reports
            if resume and out is not None:
                _restore(RunFolder(out), training)
            out, resume, on_report = None, False, None
    else:
        training = Training(problem, recipe, network)
        told = [key for key in (*options, *dotted) if "." in key]
        for note in [*unused_options(problem, training.objective), *idle_settings(recipe),
                     *idle_parts([recipe], told)]:
            notes.warning("%s", note)
    run = None if out is None else RunFolder(out)
    history: list[dict] = []
    if run is not None:
        try:
            history = _open(run, training, resume)
        except OSError as error:
            raise ProblemError(f"the run folder {run.path} cannot be written ({error.strerror or error})") from error
    elif resume:
        raise ProblemError("resume=True needs out=, the folder of the run to continue")
    if resume and training.finished():
        notes.warning("nothing is left to do: the run has taken %d steps in %.1f s, which is all of its budget; give "
                      "more steps or time, counted from its beginning", training.step, training.seconds)
    keeper = Keeper(run, history, training.step)
    status = _exhaust(training, keeper, on_report, stop)
    config, wall = config_of(training), round(time.perf_counter() - start, 3)
    solution: Solution | OperatorSolution
    if isinstance(training, OperatorTraining):
        solution = OperatorSolution(problem, training, keeper.history, config, status, keeper.state, wall)
    else:
        solution = Solution(problem, training.objective, training.truth, keeper.history, config, status, keeper.state,
                            wall)
    if run is not None:
        keeper.results(solution)
    return solution


def split_settings(settings: dict) -> tuple[dict, dict]:
    """(constants of the problem, dotted options) from `--set` entries."""
    return ({k: v for k, v in settings.items() if "." not in k}, {k: v for k, v in settings.items() if "." in k})


def config_of(training: Training | OperatorTraining) -> dict:
    """Content of config.json."""
    source = training.problem.source
    return {**training.recipe.as_dict(), "overrides": dict(source.overrides) if source else {},
            "problem": str(source.path.resolve()) if source else training.problem.title}


def _open(run: RunFolder, training: Training | OperatorTraining, resume: bool) -> list[dict]:
    """Prepares a run folder; returns the reports so far."""
    if resume:
        run.tidy()
        # A run that was killed before its first checkpoint starts from the beginning.
        if run.has_checkpoint or not (run.path / "config.json").is_file():
            _restore(run, training)
        run.truncate_metrics(training.step)
        run.write_json("config.json", config_of(training))
        return run.read_metrics()
    run.prepare()
    source = training.problem.source
    if source is not None:
        run.write_text("problem.py", source.text)
    else:
        (run.path / "problem.py").unlink(missing_ok=True)
    run.write_json("config.json", config_of(training))
    return []


def _restore(run: RunFolder, training: Training | OperatorTraining) -> None:
    """Puts the training where its checkpoint is."""
    state = run.load_checkpoint(training.recipe.device)
    try:
        training.load_state_dict(state)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ProblemError(f"{run.path}: the checkpoint does not fit this problem and recipe ({error}); resume with "
                           "the options of the run's config.json") from error


def _exhaust(training: Training | OperatorTraining, keeper: Keeper, on_report: Callable[[Any], None] | None,
             stop: Callable[[], str] | None) -> str:
    """Runs to the end, or back to the last good state; returns the status."""
    keeper.checkpoint(training, always=True)
    try:
        for report in training.run(stop):
            keeper.report(report.as_dict())
            if on_report is not None:
                on_report(report)
            keeper.checkpoint(training)
        keeper.checkpoint(training, always=True)
        doubt = gaps(training, keeper.history[0]["losses"]) if isinstance(training, Training) else ""
        if doubt:
            notes.warning("%s", doubt)
        return training.stopped or "ok"
    except (TrainingError, torch.OutOfMemoryError) as error:
        status = str(error).splitlines()[0]
        log.warning("%s", status)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):    # torch has no class of its own for this on a CPU
            raise
        status = "not enough memory for a step; use fewer points, a smaller field or chunk, or optimizer=lbfgs"
        log.warning("%s", status)
    except KeyboardInterrupt:                            # it may have hit in the middle of a step
        status = "interrupted by the user"
    training.load_state_dict(keeper.state)
    return f"{status}; the solution is the state of step {training.step}"
