"""Solutions: a trained field with its history, its errors and a status that is a sentence.

A `Solution` evaluates at points, is scored against the reference, is drawn, saved and loaded. A run that failed is a
solution too: its `status` says why, and its field is the last good one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import ProblemError
from ..fields import gaussians_of
from ..metrics import errors, mean_absolute, null_score, overall
from ..objective import Objective, build_objective, place_points
from ..points import Points
from ..problem import Problem
from .expression import Expression, points_of
from .load import load_run
from .picture import picture
from .run import RunFolder
from .truth import Truth, describe, resolve


@dataclass(eq=False)
class Solution:
    """What `solve` returns.

    Args:
        problem: What was solved.
        objective: Field, unknown parameters and last points.
        truth: The reference.
        history: Reports as plain dicts, in order.
        config: The resolved recipe.
        status: "ok", or a sentence on what went wrong.
        state: Training state for resume, as saved in checkpoint.pt.
        wall_seconds: Seconds from the call of `solve` (of its last resumption) to the end of training, with everything
            in between: the reference, reports, checkpoints. None: the run did not end.
    """

    problem: Problem
    objective: Objective
    truth: Truth
    history: list[dict]
    config: dict
    status: str = "ok"
    state: dict = field(default_factory=dict, repr=False)
    wall_seconds: float | None = None

    @property
    def field(self) -> nn.Module:
        """The field u_θ."""
        return self.objective.field

    @property
    def parameters(self) -> dict[str, float]:
        """Unknown parameters that were found."""
        return self.objective.parameters_.values()

    @property
    def steps(self) -> int:
        """Steps of training behind the field (a run that failed goes back to its last good state)."""
        return int(self.state.get("step", self.history[-1]["step"] if self.history else 0))

    @property
    def seconds(self) -> float:
        """Seconds of training steps behind the field, all its resumptions together."""
        return float(self.state.get("seconds", self.history[-1]["seconds"] if self.history else 0.0))

    @property
    def loss(self) -> float | None:
        """L in the last report of the field's steps."""
        reports = [r for r in self.history if r["step"] <= self.steps]
        return float(reports[-1]["loss"]) if reports else None

    @classmethod
    def load(cls, path, device: str | None = None, problem: Problem | None = None,
             network: nn.Module | None = None) -> Solution:
        """The solution kept in a run folder; no code is executed but that of the folder's problem file.

        Args:
            path: The folder.
            device: Where to evaluate; None: where it was trained.
            problem, network: Those that were given to `solve`, if they were made in Python.

        Raises:
            ProblemError: The folder is incomplete or damaged; the sentence says which file and why.
        """
        run = RunFolder(path)
        problem, recipe, config = load_run(run, device, problem)
        objective, _ = build_objective(problem, recipe, network)
        state = run.load_checkpoint(recipe.device)
        try:
            objective.load_state_dict(state["objective"])
            place_points(objective, state["points"])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ProblemError(f"{run.path}: the checkpoint does not fit its problem and config.json ({error}); if "
                               "solve was given network=, give it here too") from error
        result = run.read_json("result.json") if (run.path / "result.json").is_file() else {}
        status = str(result.get("status")) if result else "the run did not end"
        return cls(problem, objective, resolve(problem), run.read_metrics(), config, status, state,
                   result.get("wall_seconds"))

    @torch.no_grad()
    def __call__(self, **coordinates) -> dict[str, np.ndarray]:
        """Values at points, by unknown.

        Args:
            coordinates: One number or array per coordinate (and ranged parameter); arrays broadcast.

        Returns:
            Arrays of the broadcast shape (numbers for numbers).

        Raises:
            ProblemError: A coordinate is missing or does not exist.
        """
        X, shape = points_of(self.problem.coordinates, coordinates)
        values = self.predict(X)
        return {u: v.reshape(shape) if shape else v[0] for u, v in values.items()}

    def evaluate(self, expression: Callable, on: str | None = None, **coordinates):
        """Any expression of unknowns, their derivatives, coordinates and parameters at points: stress, flux, vorticity.

            solution.evaluate(lambda u, v: v.x - u.y, x=0.5, y=[0.1, 0.2])

        Args:
            expression: Written as in an `Equation`: one expression, or several as a dict or a tuple.
            on: A region that the points lie on; then the function may ask for its outward `normal`.
            coordinates: One number or array per coordinate (and ranged parameter); arrays broadcast.

        Returns:
            An array of the broadcast shape (numbers for numbers), or a dict or a tuple of them.

        Raises:
            ProblemError: A name or region does not exist, or the field has no such derivatives.
        """
        X, shape = points_of(self.problem.coordinates, coordinates)
        found = Expression(self.objective, expression, normal=on is not None)
        points = Points(torch.as_tensor(X), self.problem.coordinates)
        if on is not None:
            points = replace(points, normals=self.problem.region.region(on).normal(points.X))
        values = found(points).cpu().numpy()
        return found.shaped([v.reshape(shape) if shape else v[0] for v in values.T])

    def integral(self, expression: Callable, on: str | None = None, points: int = 20000):
        """∫ of an expression over the domain, or over a region of its boundary: drag, flux, energy.

            solution.integral(lambda u, normal: u.x * normal[0] + u.y * normal[1], on="hole")

        Gauss's rule on the cells or facets of a mesh, quadrature or low-discrepancy points elsewhere; over all times
        and ranged parameters, if there are any.

        Args:
            expression: As in `evaluate`.
            on: Name of a region of the boundary; None: the domain.
            points: At most so many quadrature points, about.

        Returns:
            A number, or a dict or a tuple of them.

        Raises:
            ProblemError: A name or region does not exist, or the field has no such derivatives.
        """
        region = self.problem.region if on is None else self.problem.region.region(on)
        found = Expression(self.objective, expression, normal=on is not None)
        rule = region.quadrature(points)
        assert rule.weights is not None
        return found.shaped((rule.weights @ found(rule).to(rule.weights)).tolist())

    @torch.no_grad()
    def predict(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Values by unknown at points X of shape (N, D), each of shape (N,)."""
        points = torch.as_tensor(X, dtype=self.objective.dtype, device=self.objective.device)
        parts = [self.field(points[i:i + 65536]) for i in range(0, max(len(points), 1), 65536)]
        values = torch.cat(parts).cpu().numpy()
        return {u: values[:, c] for c, u in enumerate(self.problem.unknowns)}

    def relative_l2(self) -> dict[str, float]:
        """‖u − u_ref‖/‖u_ref‖ by unknown, for those that have a reference."""
        prediction = self.predict(self.truth.X)
        return errors(prediction, self.truth.facing(prediction), self.truth.weights)

    def mean_absolute(self) -> dict[str, float]:
        """mean |u − u_ref| by unknown, for those that have a reference."""
        prediction = self.predict(self.truth.X)
        return {u: mean_absolute(prediction[u], v, self.truth.weights)
                for u, v in self.truth.facing(prediction).items() if u in prediction}

    def null_score(self) -> dict[str, float]:
        """The same for the best constant."""
        return {u: null_score(v, self.truth.weights) for u, v in self.truth.values.items()}

    def parameter_errors(self) -> dict[str, float]:
        """Relative errors of the unknown parameters whose exact values are known."""
        have = self.parameters
        return {n: abs(have[n] - exact) / (abs(exact) or 1.0) for n, exact in self.truth.parameters.items()
                if n in have}

    def other_states(self) -> list[str]:
        """A sentence for each eigenvalue that lies at the reference's value of another state than its own.

        Only states that the reference holds can be told: a run that ended at a third one has a large error, no more.
        """
        if not self.truth.signless:                      # no eigenproblem
            return []
        exact, sentences = self.truth.parameters, []
        for name, found in self.parameters.items():
            if name not in exact:
                continue
            near = min(exact, key=lambda n: (abs(found - exact[n]), n != name))
            if near != name and abs(found - exact[near]) < 0.05 * abs(exact[near]):
                sentences.append(f"{name} = {found:.6g} is that of another state, {near} = {exact[near]:.6g}, and not "
                                 f"{exact[name]:.6g}; start {name} nearer, give it bounds=, or train with another seed")
        return sentences

    def result(self) -> dict:
        """Content of result.json."""
        errors_ = self.relative_l2()
        parameters = sum(p.numel() for p in self.objective.trainable)
        return {
            "status": self.status, "problem": self.problem.title, "relative_l2": errors_,
            "relative_l2_overall": overall(errors_) if errors_ else None, "null_score": self.null_score(),
            "mean_absolute": self.mean_absolute(),
            "parameter_values": self.parameters, "parameter_errors": self.parameter_errors(),
            "other_states": self.other_states(),
            "reference": describe(self.truth), "loss": self.loss,
            "seconds": self.seconds, "wall_seconds": self.wall_seconds, "steps": self.steps,
            "seed": self.config.get("seed"),
            "device": self.config.get("device"), "dtype": self.config.get("dtype"),
            "threads": torch.get_num_threads(), "parameters": parameters, "versions": versions(),
        }

    def save(self, path) -> Path:
        """Writes the run folder; returns it."""
        run = RunFolder(path)
        run.prepare()
        source = self.problem.source
        if source is not None:
            run.write_text("problem.py", source.text)
        run.write_json("config.json", self.config)
        run.append_metrics(self.history)
        if self.state:
            run.save_checkpoint(self.state)
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
        truth, names = self.truth, self.problem.coordinates
        attributes: dict[str, str | Sequence[str]] = {
            "layout": "scattered" if truth.axes is None else "grid", "order": names,
            "problem": self.problem.title, "status": self.status, "parameters_axes": tuple(self.problem.ranges),
        }
        if truth.axes is None:
            coordinates = {n: truth.X[:, i] for i, n in enumerate(names)}
            shape: tuple[int, ...] = (len(truth.X),)
        else:
            coordinates = dict(truth.axes)
            shape = tuple(len(a) for a in truth.axes.values())
        prediction = self.predict(truth.X)
        groups: dict[str, Mapping[str, np.ndarray]] = {
            "coordinates": coordinates,
            "prediction": {u: v.reshape(shape) for u, v in prediction.items()},
        }
        if truth.values:
            groups["reference"] = {u: v.reshape(shape) for u, v in truth.facing(prediction).items()}
        if truth.cells:
            groups["cells"] = dict(truth.cells)
        if inside := self._residual_fields(truth.X):
            groups["residual"] = {n: r.reshape(shape) for n, r in inside.items()}
        if (gaussians := gaussians_of(self.field)) is not None:
            groups["gaussians"] = {n: a.cpu().numpy() for n, a in gaussians.parts().items()}
        for block in self.objective.blocks:
            points = self.objective.points[block.name]
            columns = {n: c.cpu().numpy() for n, c in points.columns().items()}
            if block.combine == "each" and not block.data:
                columns["residual"] = self.objective.magnitude(block)(points).cpu().numpy()
            groups[f"points/{block.name.replace('/', '∕')}"] = columns
        return attributes, groups

    def _residual_fields(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """|r| at points X (N, D) by condition of the whole inside, each of shape (N,)."""
        names = self.problem.coordinates
        points = Points(torch.as_tensor(X, dtype=self.objective.dtype, device=self.objective.device), names)
        return {b.name.replace("/", "∕"): self.objective.magnitude(b)(points).cpu().numpy()
                for b in self.objective.blocks
                if b.region is self.problem.region and b.combine == "each" and not b.data}

    def plot(self, path) -> Path:
        """The main figure (prediction, reference, error) as a picture at `path`."""
        return picture(self.save, "solution.png", path)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import scipy

    from .. import __version__

    return {"sciml": __version__, "python": platform.python_version(), "torch": torch.__version__,
            "numpy": np.__version__, "scipy": scipy.__version__}
