"""Solution operators: what learning gives, with its errors on test functions and a status that is a sentence."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ProblemError, TrainingError, look_up
from ..metrics import overall
from ..problem import Problem, load_problem
from ..samples.make import describe
from ..solution import RunFolder
from ..solution.picture import picture
from ..solution.solution import versions
from .layout import Layout
from .models import relative_errors
from .recipe import OperatorRecipe, make_operator_recipe
from .samples import Samples, accuracy, solve_samples
from .training import OperatorTraining
from .tune import tuned

SCALES = (0.5, 1.0, 1.5, 2.0)     # of the grids in `OperatorSolution.resolution`
SECONDS = 10.0                    # that the reference solver may take there

@dataclass(eq=False)
class OperatorSolution:
    """What `solve` returns for `model="fno"` and its like: a ↦ u.

    Args:
        problem: The family.
        training: Operator, samples and state.
        history: Reports as plain dicts, in order.
        config: The resolved recipe.
        status: "ok", or a sentence on what went wrong.
        state: Training state for resume.
        wall_seconds: Seconds from the call of `solve` to the end of training.
    """

    problem: Problem
    training: OperatorTraining
    history: list[dict]
    config: dict
    status: str = "ok"
    state: dict = field(default_factory=dict, repr=False)
    wall_seconds: float | None = None
    _kept: dict = field(default_factory=dict, repr=False)

    @property
    def objective(self) -> nn.Module:
        """What was trained."""
        return self.training.operator.model

    @property
    def layout(self) -> Layout:
        """The grid and the channels it was trained on."""
        return self.training.layout

    @property
    def steps(self) -> int:
        """Steps of training."""
        return int(self.state.get("step", self.training.step))

    @property
    def seconds(self) -> float:
        """Seconds of training steps."""
        return float(self.state.get("seconds", self.training.seconds))

    @property
    def loss(self) -> float | None:
        """Mean loss of the last epoch."""
        return float(self.history[-1]["loss"]) if self.history else None

    @torch.no_grad()
    def __call__(self, **inputs) -> dict[str, np.ndarray]:
        """Solutions for input functions on a grid.

        Args:
            inputs: By name, an array (n_1, …) or (B, n_1, …) over the input's coordinates; the nodes are those of the
                training grid or of any other resolution: both ends, or without the upper one where an axis repeats.

        Returns:
            By unknown, (B, n_1, …, n_d), with a last axis of the predicted times where there are several; without B if
            the inputs had none.

        Raises:
            ProblemError: An input is missing, or shapes do not fit together.
        """
        given, layout, single = self._given(inputs)
        values = self.training.evaluate(Samples(given), layout).double().cpu().numpy()
        values = values[0] if single else values
        return self._named(values)

    def _named(self, values: np.ndarray) -> dict[str, np.ndarray]:
        C = len(self.layout.unknowns)
        split = values.reshape(*values.shape[:-1], -1, C)
        return {u: split[..., c] if split.shape[-2] > 1 else split[..., 0, c]
                for c, u in enumerate(self.layout.unknowns)}

    def _given(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Tensor], Layout, bool]:
        """Input functions as batches, their grid, and whether they were single."""
        if self.layout.history:
            raise ProblemError("this operator takes snapshots of the solution, not input functions; give them to "
                               "predict(snapshots)")
        over = self.layout.over
        for name in inputs:
            look_up("input", name, dict(over))
        found, sizes, single = {}, dict(zip(self.layout.names, self.layout.shape, strict=True)), True
        for name, axes in over.items():
            if name not in inputs:
                raise ProblemError(f"the input {name!r} is missing; the operator takes {', '.join(over)}")
            values = torch.as_tensor(np.asarray(inputs[name]), dtype=self.training.dtype, device=self.training.device)
            if values.ndim == len(axes):
                values = values[None]
            else:
                single = False
            if values.ndim != len(axes) + 1:
                raise ProblemError(f"input {name!r} has shape {tuple(values.shape)}, expected (B, "
                                   f"{', '.join('n_' + c for c in axes)}) or one function without B")
            sizes.update(zip(axes, values.shape[1:], strict=True))
            found[name] = values
        layout = self.layout.at(tuple(sizes[n] for n in self.layout.names))
        batch = max(len(v) for v in found.values())
        for name, values in found.items():
            wanted = (batch, *(sizes[c] for c in over[name]))
            if len(values) not in (1, batch) or tuple(values.shape[1:]) != wanted[1:]:
                raise ProblemError(f"input {name!r} has shape {tuple(values.shape)}, and the others ask for {wanted}")
            found[name] = values.expand(*wanted)
        return found, layout, single

    @torch.no_grad()
    def predict(self, snapshots: np.ndarray) -> dict[str, np.ndarray]:
        """Later snapshots from the first ones, for operators with data.history.

        Args:
            snapshots: (B, n_1, …, n_d, H) of the only unknown, or (B, n_1, …, n_d, H C) with unknowns within times.
        """
        values = torch.as_tensor(np.asarray(snapshots), dtype=self.training.dtype, device=self.training.device)
        expected = self.layout.history * len(self.layout.unknowns)
        if not expected or values.ndim != len(self.layout.axes) + 2 or values.shape[-1] != expected:
            raise ProblemError(f"snapshots have shape {tuple(values.shape)}, expected (B, n_1, …, n_d, {expected})")
        out = self.training.predict(values, {}, self.layout.at(tuple(values.shape[1:-1])))
        return self._named(out.double().cpu().numpy())

    def tune(self, seconds: float = 60.0, **inputs) -> dict[str, np.ndarray]:
        """Test-time optimisation: the operator trained further on the residual of these inputs alone, then evaluated.

        Args:
            seconds: Of training.
            inputs: As in a call, on the grid of the training.

        Returns:
            As a call. The operator itself stays as it is.

        Raises:
            ProblemError: The equations have no residual on this grid (train with loss=residual or both).
        """
        given, layout, single = self._given(inputs)
        values = tuned(self.training, given, layout, seconds).double().cpu().numpy()
        return self._named(values[0] if single else values)

    # errors ----------------------------------------------------------------------------------------------------------

    def _errors(self) -> np.ndarray:
        """Relative errors of the test samples by unknown, (B, C); empty without a reference."""
        if "errors" not in self._kept:
            found = self.training.test_errors()
            self._kept["errors"] = np.zeros((0, len(self.layout.unknowns))) if found is None else \
                found.double().cpu().numpy()
        return self._kept["errors"]

    def relative_l2(self) -> dict[str, float]:
        """Mean over the test functions of ‖u − û‖/‖u‖, by unknown."""
        errors = self._errors()
        return {u: float(errors[:, c].mean()) for c, u in enumerate(self.layout.unknowns)} if len(errors) else {}

    def worst(self) -> dict[str, float]:
        """The largest of them."""
        errors = self._errors()
        return {u: float(errors[:, c].max()) for c, u in enumerate(self.layout.unknowns)} if len(errors) else {}

    def null_score(self) -> dict[str, float]:
        """The same for the mean field of the training set, or of the test set where no solutions were used."""
        training = self.training
        if training.test is None:
            return {}
        source = training.train if training.train.outputs is not None else training.test
        target = training.targets(training.test)
        mean = training.targets(source).mean(0, keepdim=True).expand_as(target)
        found = relative_errors(mean, target, len(self.layout.unknowns)).mean(0)
        return {u: float(e) for u, e in zip(self.layout.unknowns, found, strict=True)}

    def error_on(self, grid: int | tuple[int, ...], count: int | None = None) -> dict[str, float]:
        """Mean relative error on another grid against the reference solver on that grid, without training there.

        Args:
            grid: Nodes along an axis, or one number for each.
            count: Number of test functions; None: all.

        Raises:
            ProblemError: The problem's reference solves no families.
        """
        layout = self.layout.at(grid)
        data = self.training.data
        samples = solve_samples(self.problem, layout, count or data.test, data.seed, test=True)
        cast = samples.to(torch.empty(0, dtype=self.training.dtype, device=self.training.device))
        found = relative_errors(self.training.evaluate(cast, layout), self.training.targets(cast),
                                len(layout.unknowns)).mean(0)
        return {u: float(e) for u, e in zip(layout.unknowns, found, strict=True)}

    def resolution(self) -> dict[str, np.ndarray]:
        """Mean errors on coarser and finer grids against the reference solver there, by unknown, and "nodes".

        Grids of 0.5, 1, 1.5 and 2 times the intervals, without training on them, on as many test functions (16 at
        most) as the reference solver does in some ten seconds; "nodes" are those along the first axis. Grids that the
        model or the solver does not take are left out; {} where fewer than two remain.
        """
        if "resolution" in self._kept:
            return self._kept["resolution"]
        training, axes = self.training, self.layout.axes
        solved = training.data.test + (training.data.train if training.train.outputs is not None else 0)
        each = training.solved_seconds / solved * sum(k ** len(axes) for k in SCALES)
        count = int(min(16, training.data.test, SECONDS / max(each, 1e-9)))
        found: dict[str, list[float]] = {"nodes": [], **{u: [] for u in self.layout.unknowns}}
        for k in SCALES if count else ():
            grid = tuple(round(a.count * k) if a.periodic else round((a.count - 1) * k) + 1 for a in axes)
            try:
                errors = self.error_on(grid, count)
            except (ProblemError, TrainingError):
                continue
            found["nodes"].append(grid[0])
            for u, error in errors.items():
                found[u].append(error)
        kept = {n: np.array(v) for n, v in found.items()} if len(found["nodes"]) > 1 else {}
        self._kept["resolution"] = kept
        return kept

    @torch.no_grad()
    def timing(self, repeats: int = 3) -> dict[str, float]:
        """Seconds for one function: the operator's (in batches of 20) and the reference solver's, and the break-even.

        The break-even is the number of functions from which data and training have paid off; infinite where the
        operator is not faster.
        """
        training, data = self.training, self.training.data
        if training.test is None:
            return {}
        few = training.test.part(slice(0, 20))
        float(training.evaluate(few).sum())                # a number waits for the device
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            float(training.evaluate(few).sum())
            times.append(time.perf_counter() - start)
        own = float(np.median(times)) / len(few)
        solved = data.test + (data.train if training.train.outputs is not None else 0)
        classical = training.solved_seconds / solved
        gain = classical - own
        return {"operator_seconds": own, "solver_seconds": classical,
                "break_even": (training.solved_seconds + self.seconds) / gain if gain > 0 else float("inf")}

    # keeping ---------------------------------------------------------------------------------------------------------

    def result(self) -> dict:
        """Content of result.json."""
        errors, data = self.relative_l2(), self.training.data
        return {
            "status": self.status, "problem": self.problem.title, "kind": "operator", "relative_l2": errors,
            "relative_l2_overall": overall(errors) if errors else None, "worst": self.worst(),
            "null_score": self.null_score(), "parameter_values": {}, "parameter_errors": {}, "other_states": [],
            "reference": self._reference(), "loss": self.loss, "trained_on": self.training.recipe.loss,
            "train": data.train, "test": data.test, "grid": list(self.layout.shape),
            "data_seed": data.seed,
            "data_seconds": self.training.solved_seconds, **self.timing(),
            "seconds": self.seconds, "wall_seconds": self.wall_seconds, "steps": self.steps,
            "seed": self.config.get("seed"), "device": self.config.get("device"), "dtype": self.config.get("dtype"),
            "threads": torch.get_num_threads(), "parameters": sum(p.numel() for p in self.objective.parameters()),
            "versions": versions(),
        }

    def _reference(self) -> str:
        if self.training.test is None:
            return "none: the problem has no solver of families"
        if "accuracy" not in self._kept:
            data = self.training.data
            self._kept["accuracy"] = accuracy(self.problem, self.layout, data.seed)
        found = self._kept["accuracy"]
        return f"{describe(self.problem.reference)}, itself off by {found.error:.1e} ({found.how})"

    def save(self, path) -> Path:
        """Writes the run folder; returns it."""
        run = RunFolder(path)
        run.prepare()
        if self.problem.source is not None:
            run.write_text("problem.py", self.problem.source.text)
        run.write_json("config.json", self.config)
        run.append_metrics(self.history)
        run.save_checkpoint(self.state or self.training.state_dict())
        self.write_arrays(run)
        self.write_result(run)
        return run.path

    def write_arrays(self, run: RunFolder) -> None:
        """Writes solution.h5."""
        run.write_solution(*self._arrays())

    def write_result(self, run: RunFolder) -> None:
        """Writes result.json."""
        run.write_json("result.json", self.result())

    def _arrays(self) -> tuple[dict, dict]:
        """The sample of median error as the solution, and the worst beside it."""
        layout, training = self.layout, self.training
        names = (*layout.names, "t") if layout.times is not None and layout.steps > 1 else layout.names
        coordinates = {a.name: a.nodes().numpy() for a in layout.axes}
        if len(names) > len(layout.names):
            assert layout.times is not None
            coordinates["t"] = layout.times[layout.history:].numpy()
        attributes: dict[str, str | Sequence[str]] = {
            "layout": "grid", "order": names, "problem": self.problem.title, "status": self.status,
            "parameters_axes": (), "kind": "operator"}
        samples = training.test or training.train
        errors = self._errors().mean(1)
        order = np.argsort(errors) if len(errors) else np.arange(1)
        groups: dict[str, Mapping[str, np.ndarray]] = {"coordinates": coordinates}
        for label, k in (("", order[len(order) // 2]), ("worst/", order[-1])):
            one = samples.part(slice(int(k), int(k) + 1))
            groups[f"{label}prediction"] = self._named(training.evaluate(one).double().cpu().numpy()[0])
            if one.outputs is not None:
                groups[f"{label}reference"] = self._named(training.targets(one).double().cpu().numpy()[0])
            groups[f"{label}inputs"] = {n: v[0].double().cpu().numpy() for n, v in one.inputs.items()}
            if body := training.places.at(layout, one.inputs):
                groups[f"{label}body"] = {n: v[0].double().cpu().numpy() for n, v in body.items()}
        if len(errors):
            groups["errors"] = {u: self._errors()[:, c] for c, u in enumerate(layout.unknowns)}
            groups["resolution"] = self.resolution()
        return attributes, groups

    def plot(self, path) -> Path:
        """The main figure (input, prediction, reference, error of the median and the worst sample) at `path`."""
        return picture(self.save, "operator.png", path)

    @classmethod
    def load(cls, path, device: str | None = None, problem: Problem | None = None) -> OperatorSolution:
        """The solution kept in a run folder; no code is executed but that of the folder's problem file.

        The samples are made again.

        Raises:
            ProblemError: The folder is incomplete or damaged.
        """
        run = RunFolder(path)
        problem, recipe, config = load_operator_run(run, device, problem)
        training = OperatorTraining(problem, recipe)
        state = run.load_checkpoint(recipe.device)
        try:
            training.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ProblemError(f"{run.path}: the checkpoint does not fit its problem and config.json ({error})") \
                from error
        result = run.read_json("result.json") if (run.path / "result.json").is_file() else {}
        status = str(result.get("status")) if result else "the run did not end"
        return cls(problem, training, run.read_metrics(), config, status, state, result.get("wall_seconds"))


def load_operator_run(run: RunFolder, device: str | None = None,
                      problem: Problem | None = None) -> tuple[Problem, OperatorRecipe, dict]:
    """Problem, recipe and config of a run folder of operator learning.

    Raises:
        ProblemError: A file is missing or damaged.
    """
    config = run.read_json("config.json")
    plain = {k: v for k, v in config.items() if k not in ("overrides", "problem")}
    if device is not None:
        plain["device"] = device
    options = plain.pop("options", {})
    recipe = make_operator_recipe({}, {**plain, "options": options})
    if problem is None:
        path = run.path / "problem.py"
        if not path.is_file():
            raise ProblemError(f"{run.path} has no problem.py: the run is of a problem made in Python; give it as "
                               "problem=")
        problem = load_problem(path, config.get("overrides", {}), origin=Path(str(config.get("problem"))))
    return problem, recipe, config


