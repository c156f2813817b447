"""Operators from arrays of one's own: `learn`, on grids and on points, without a problem file.

    solution = sciml.learn(load_arrays("data.h5", …), model="fno", train=800, test=200, epochs=100)
    solution = sciml.learn(samples, model="mesh-operator", points=("x", "y"), weights="area")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from ..calculus import GridAxis
from ..errors import ProblemError, TrainingError, look_up
from ..operators import NUNO, surroundings
from ..samples import ArraySamples
from ..samples import Samples as Arrays
from ..solution import RunFolder
from ..solution.solution import versions
from .layout import Layout
from .learner import Learner
from .models import OPERATORS, POINTS, Normaliser, Operator, build_model, build_point_model, relative_errors
from .parallel import join
from .recipe import DTYPES, OperatorRecipe, make_operator_recipe
from .split import split

IN_MEMORY = 2**31         # bytes of training samples that are read at once; more are streamed
EVALUATED = 20


@dataclass(frozen=True)
class Columns:
    """Which fields of the samples are what.

    Args:
        inputs, outputs: Names of functions.
        points: Names of the fields or axes that are coordinates of points; (): the samples are on a grid.
        weights: Name of quadrature weights at points; "": equal ones.
        periodic: Axes of a grid that repeat.
        surroundings: Least length and number of lengths of further channels at points; (): none.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    points: tuple[str, ...] = ()
    weights: str = ""
    periodic: tuple[str, ...] = ()
    surroundings: tuple = ()

    def __post_init__(self):
        given = self.surroundings
        if given and not (self.points and self.weights and [type(v) in (int, float) for v in given] == [True, True]):
            raise ProblemError(f"surroundings={given} needs points=, weights= and two numbers: the least length, some "
                               "spacings of the points, and how many lengths")


class ArrayTraining(Learner):
    """A run in progress on samples of the user's.

    Args:
        samples: With fields by name.
        columns: Which of them are what.
        recipe: How.
        splits: Indices of the training and the test samples.

    Raises:
        ProblemError: Fields of other shapes, or a model that does not go with them.
    """

    def __init__(self, samples: Arrays, columns: Columns, recipe: OperatorRecipe, splits: tuple[Tensor, Tensor]):
        self.samples, self.columns, self.splits = samples, columns, splits
        self.around: dict[int, Tensor] = {}
        self.tested = set(splits[1].tolist())
        self.dtype, self.device = DTYPES[recipe.dtype], join(recipe.device)
        on_points = bool(columns.points)
        table = POINTS if on_points else {n: m for n, m in OPERATORS.items() if m.grid}
        if recipe.model not in table:
            kind = "points, and they need one of" if on_points else "a grid, and it needs one of"
            raise ProblemError(f"model={recipe.model}: the samples are on {kind} {', '.join(table)}")
        self.names = (*columns.inputs, *columns.outputs, *columns.points, *([columns.weights] * bool(columns.weights)))
        self._check_shapes()
        first = samples.read(splits[0][:1], [n for n in self.names if n in self._fields], torch.float64)
        size = 4 * sum(v.numel() for v in first.values())
        if columns.surroundings:
            size += 4 * first[columns.points[0]].numel() * columns.surroundings[1] * (1 + len(columns.points))
        self.kept = self._read(splits[0]) if size * len(splits[0]) <= IN_MEMORY else None
        some = self.kept if self.kept is not None else self._read(splits[0][:256])
        v, X, _, u = some
        self.layout = None if on_points else self._layout()
        model = self._point_model(recipe, v, X, u) if on_points else self._grid_model(recipe, v, u)
        periodic = tuple(False for _ in v.shape[1:-1]) if self.layout is None else \
            tuple(a.periodic for a in self.layout.axes)
        pointwise = not on_points and not all(periodic)
        operator = Operator(model, not on_points, Normaliser(v, False, periodic), Normaliser(u, pointwise, periodic))
        self.begin(recipe, operator.to(self.device), len(splits[0]))

    @property
    def _fields(self) -> tuple[str, ...]:
        return (*self.samples.inputs, *self.samples.outputs)

    def state_dict(self):
        return {**super().state_dict(), "made of": self._made_of()}

    def load_state_dict(self, state):
        now = self._made_of()
        other = {k: v for k, v in state.get("made of", now).items() if now.get(k) != v}
        if other:
            told = ", ".join(f"{k}={v!r} (now {now.get(k)!r})" for k, v in other.items())
            raise ValueError(f"it was trained with {told}")
        super().load_state_dict(state)

    def _made_of(self) -> dict:
        """What a checkpoint's weights mean something for."""
        return {**asdict(self.columns), "model": self.recipe.model, **{
            f"model.{k}": v for k, v in sorted(self.recipe.options.get("model", {}).items())}}

    def _check_shapes(self) -> None:
        """Raises a ProblemError if fields are no functions on the grid, or outputs at points differ in shape."""
        columns, fields = self.columns, self.samples.read([0])
        on_points, sizes = bool(columns.points), {n: len(x) for n, x in self.samples.axes.items()}
        expected = tuple(fields[columns.outputs[0]].shape[1:]) if on_points else tuple(sizes.values())
        where = "points" if on_points else f"the grid {', '.join(f'{n} ({k} nodes)' for n, k in sizes.items())}"
        for name in (*columns.inputs, *columns.outputs):
            shape = tuple(fields[name].shape[1:])
            if shape != expected and not (name in columns.inputs and not shape):
                raise ProblemError(f"field {name!r} has shape (B, {', '.join(map(str, shape))}), and {where} ask for "
                                   f"(B, {', '.join(map(str, expected))}); give axes= that fit, several times as a "
                                   "field for each, and inputs over fewer coordinates repeated along the others")
        for name, x in ({} if on_points else self.samples.axes).items():
            steps = x.diff()
            if len(x) < 2 or not bool((steps > 0).all()) or float(steps.max()) > 1.001 * float(steps.min()):
                raise ProblemError(f"the nodes of axis {name!r} are not equally spaced; resample the fields, or give "
                                   "the coordinates as fields and points=")

    def _layout(self) -> Layout:
        axes = tuple(GridAxis(n, float(x[0]), float(x[-1]) + (float(x[1] - x[0]) if n in self.columns.periodic else 0),
                              len(x), n in self.columns.periodic) for n, x in self.samples.axes.items())
        return Layout(axes, self.columns.outputs, {n: tuple(self.samples.axes) for n in self.columns.inputs})

    def _grid_model(self, recipe: OperatorRecipe, v: Tensor, u: Tensor) -> nn.Module:
        assert self.layout is not None
        return build_model(recipe.model, self.layout, recipe.options.get("model", {}), recipe.seed, self.dtype)

    def _point_model(self, recipe: OperatorRecipe, v: Tensor, X: Tensor, u: Tensor) -> nn.Module:
        flat = X.reshape(-1, X.shape[-1])
        bounds = [(float(a), float(b)) for a, b in zip(flat.amin(0), flat.amax(0), strict=True)]
        model = build_point_model(recipe.model, v.shape[-1], u.shape[-1], bounds, recipe.options.get("model", {}),
                                  recipe.seed, self.dtype)
        if isinstance(model, NUNO):
            model.fit(X.double())                         # a k-d tree is built on training points only
        return model

    def _read(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Channels, coordinates, weights and targets of some samples."""
        held = self.samples.read(index, [n for n in self.names if n in self._fields], torch.float64)
        target = torch.stack([held[n] for n in self.columns.outputs], -1)
        B, shape = len(target), target.shape[1:-1]
        if self.columns.points:
            target = target.flatten(1, -2)
            X = torch.stack([self._column(held[n], B, shape) for n in self.columns.points], -1)
            a = self._column(held[self.columns.weights], B, shape) if self.columns.weights else None
            parts = [self._column(held[n], B, shape) for n in self.columns.inputs]
            if self.columns.surroundings:
                parts += self._around(index, X, a).unbind(-1)
            v = torch.stack(parts, -1) if parts else torch.ones(*target.shape[:-1], 1, dtype=torch.float64)
        else:
            X, a = torch.zeros(0), None
            v = torch.stack([x if x.ndim > 1 else x.reshape(-1, *(1,) * len(shape)).expand(B, *shape)
                             for x in (held[n] for n in self.columns.inputs)], -1)
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        return v.to(like), X.to(like), None if a is None else a.to(like), target.to(like)

    def _around(self, index: Tensor, X: Tensor, a: Tensor | None) -> Tensor:
        """The surroundings of the points of some samples, (B, N, C); those of test samples are kept."""
        assert a is not None and self.columns.surroundings
        parts = []
        for i, x, w in zip(index.tolist(), X, a, strict=True):
            found = self.around.get(i)
            found = surroundings(x, w, *self.columns.surroundings).to(self.dtype) if found is None else found
            if i in self.tested:
                self.around[i] = found
            parts.append(found.double())
        return torch.stack(parts)

    def _column(self, values: Tensor, B: int, shape: Sequence[int]) -> Tensor:
        """A field at the points, (B, N)."""
        if values.ndim == 1:
            return values[:, None].expand(B, int(np.prod(shape)))
        if tuple(values.shape[1:]) != tuple(shape):
            raise ProblemError(f"fields at points must have the shape of the outputs, {tuple(shape)}, or be a number "
                               f"for each sample, got {tuple(values.shape[1:])}")
        return values.flatten(1)

    def _batch(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        if self.kept is None:
            return self._read(self.splits[0][index.cpu()])
        v, X, a, u = self.kept
        return v[index], X[index] if len(X) else X, None if a is None else a[index], u[index]

    def predict(self, v: Tensor, X: Tensor, a: Tensor | None) -> Tensor:
        """Outputs in their own units."""
        if self.layout is not None:
            return self.operator(v, self.layout.at(tuple(v.shape[1:-1])).coordinates(v))
        return self.operator(v, X, a)

    def loss_of(self, index: Tensor) -> Tensor:
        v, X, a, u = self._batch(index)
        return relative_errors(self.predict(v, X, a), u, u.shape[-1]).mean()

    @torch.no_grad()
    def test_errors(self, most: int | None = None) -> Tensor:
        """Relative errors of the test samples by output, (B, C)."""
        found = []
        for part in self.splits[1][:most].split(EVALUATED):
            v, X, a, u = self._read(part)
            found.append(relative_errors(self.predict(v, X, a), u, u.shape[-1]))
        return torch.cat(found)

    def errors(self) -> dict[str, float]:
        """Mean relative errors of at most 100 test samples until the end."""
        each = self.test_errors(None if self.finished() else 100).mean(0)
        return {n: float(e) for n, e in zip(self.columns.outputs, each, strict=True)}


@dataclass(eq=False)
class LearnedOperator:
    """What `learn` returns.

    Args:
        training: Operator and samples.
        history: Reports as plain dicts.
        config: The resolved recipe.
        status: "ok", or a sentence on what went wrong.
        wall_seconds: From the call to the end.
    """

    training: ArrayTraining
    history: list[dict]
    config: dict
    status: str = "ok"
    wall_seconds: float = 0.0
    _kept: dict = field(default_factory=dict, repr=False)

    @property
    def seconds(self) -> float:
        """Seconds of training steps."""
        return self.training.seconds

    @property
    def steps(self) -> int:
        """Steps of training."""
        return self.training.step

    def _errors(self) -> Tensor:
        if "errors" not in self._kept:
            self._kept["errors"] = self.training.test_errors()
        return self._kept["errors"]

    def relative_l2(self) -> dict[str, float]:
        """Mean over the test samples of ‖u − û‖/‖u‖, by output, in the units of the data."""
        return {n: float(e) for n, e in zip(self.training.columns.outputs, self._errors().mean(0), strict=True)}

    def worst(self) -> dict[str, float]:
        """The largest of them."""
        return {n: float(e) for n, e in zip(self.training.columns.outputs, self._errors().amax(0), strict=True)}

    def null_score(self) -> dict[str, float]:
        """The same for the mean value of the training samples (on a grid, for their mean field)."""
        training = self.training
        found = []
        for part in training.splits[1].split(EVALUATED):
            u = training._read(part)[-1]
            decoder = training.operator.decoder
            assert decoder is not None
            found.append(relative_errors(decoder.decode(torch.zeros_like(u)), u, u.shape[-1]))
        return {n: float(e) for n, e in zip(training.columns.outputs, torch.cat(found).mean(0), strict=True)}

    @torch.no_grad()
    def __call__(self, index: Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        """Predictions for some of the samples, by output, (B, …)."""
        training = self.training
        parts = [training.predict(*training._read(i)[:3]) for i in torch.as_tensor(index).reshape(-1).split(EVALUATED)]
        values = torch.cat(parts).double().cpu().numpy()
        return {n: values[..., c] for c, n in enumerate(training.columns.outputs)}

    def result(self) -> dict:
        """Errors, sizes and what it took."""
        training = self.training
        return {"status": self.status, "kind": "learned operator", "relative_l2": self.relative_l2(),
                "worst": self.worst(), "null_score": self.null_score(), "seconds": self.seconds,
                "wall_seconds": self.wall_seconds, "steps": self.steps, "train": training.splits[0].tolist(),
                "test": training.splits[1].tolist(), "threads": torch.get_num_threads(),
                "parameters": sum(p.numel() for p in training.operator.model.parameters()),
                "versions": versions(), **{k: self.config[k] for k in ("model", "seed", "device", "dtype")}}

    def save(self, path: str | os.PathLike) -> Path:
        """Writes weights, recipe, reports and errors into a folder; `learn(restore=…)` takes the weights."""
        run = RunFolder(path)
        run.prepare()
        run.write_json("config.json", self.config)
        run.append_metrics(self.history)
        run.save_checkpoint(self.training.state_dict())
        run.write_json("result.json", self.result())
        return run.path


def learn(samples: Arrays | Mapping[str, np.ndarray], *, inputs: Sequence[str] | None = None,
          outputs: Sequence[str] | None = None, points: Sequence[str] = (), weights: str = "",
          periodic: Sequence[str] = (), surroundings: Sequence[float] = (),
          axes: Mapping[str, object] | None = None, train: int | str | Sequence[int] = "",
          test: int | str | Sequence[int] = "", restore: str | os.PathLike | None = None,
          on_report: Callable | None = None, stop: Callable[[], str] | None = None, **options) -> LearnedOperator:
    """Trains an operator on samples.

    Args:
        samples: From a store or a file (`sciml.samples`), or arrays by name, the samples first.
        inputs, outputs: Names of functions; None: those the samples name (all but points and weights).
        points: Names of the coordinates of points, fields of the shape of the outputs: the samples are on points.
        weights: Name of quadrature weights at the points.
        periodic: Axes of a grid that repeat.
        surroundings: (ℓ, k): at points with weights, what lies around each at the lengths ℓ, 2ℓ, …, 2ᵏ⁻¹ℓ (share of
            the body and its first moments, `operators.surroundings`) as further inputs: the shape of a body, which its
            points alone say badly. O(k N²) for each sample, once, or at each
            reading of samples that are streamed.
        axes: Nodes by coordinate, where samples are arrays on a grid; None: 0 to 1.
        train, test: Numbers of samples (the first and the last of them), lists of indices, or names of splits; default:
            the splits "train" and "test", else the first 80 % and the rest.
        restore: Folder of an earlier run to take weights, optimizer and steps from.
        on_report, stop: As in `solve`.
        options: Of `OperatorRecipe`: model, epochs, batch, seed, …

    Raises:
        ProblemError: Names, shapes, splits or options that make no sense; nothing was trained.
    """
    start = perf_counter()
    if not isinstance(samples, Arrays):
        samples = _in_memory(samples, inputs, axes, points)
    extra = {*points, weights}
    columns = Columns(tuple(n for n in samples.inputs if n not in extra) if inputs is None else tuple(inputs),
                      tuple(n for n in samples.outputs if n not in extra) if outputs is None else tuple(outputs),
                      tuple(points), weights, tuple(periodic), tuple(surroundings))
    known = dict.fromkeys((*samples.inputs, *samples.outputs))
    for name in (*columns.inputs, *columns.outputs, *columns.points, *([weights] if weights else [])):
        look_up("field of the samples", name, known)
    if not columns.outputs or (not columns.inputs and not points):
        raise ProblemError("name the inputs and outputs among the fields of the samples: "
                           f"{', '.join((*samples.inputs, *samples.outputs))}")
    recipe = make_operator_recipe({"model": "mesh-operator" if points else "fno"}, options)
    if recipe.loss not in ("auto", "data") or recipe.augment != "none":
        raise ProblemError(f"loss={recipe.loss}, augment={recipe.augment}: arrays have no equations; take loss=data "
                           "and augment=none, or write a problem file")
    training = ArrayTraining(samples, columns, recipe, split(samples, train, test))
    if restore is not None:
        state = RunFolder(restore).load_checkpoint(recipe.device)
        try:
            training.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ProblemError(f"restore={os.fspath(restore)!r}: the checkpoint does not fit these samples and options "
                               f"({str(error).splitlines()[0]}); give those of its run") from error
    history, status = [], "ok"
    try:
        for report in training.run(stop):
            history.append(report.as_dict())
            if on_report is not None:
                on_report(report)
        status = training.stopped or "ok"
    except TrainingError as error:
        status = str(error)
    except KeyboardInterrupt:
        status = f"interrupted by the user at step {training.step}"
    return LearnedOperator(training, history, recipe.as_dict(), status, round(perf_counter() - start, 3))


def _in_memory(arrays: Mapping[str, np.ndarray], inputs: Sequence[str] | None, axes, points) -> ArraySamples:
    if inputs is None:
        raise ProblemError("arrays do not say which of them are inputs; give inputs=[…]")
    shape = next(np.shape(v)[1:] for v in arrays.values() if np.ndim(v) > 1)
    nodes = axes if axes is not None else {} if points else \
        {f"x{i}": torch.linspace(0, 1, n, dtype=torch.float64) for i, n in enumerate(shape)}
    return ArraySamples(arrays, [*inputs], {n: torch.as_tensor(x) for n, x in nodes.items()})
