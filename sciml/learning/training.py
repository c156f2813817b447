"""Training of solution operators: everything that changes, its reports and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import ProblemError
from ..generators import BatchSolver
from ..operators import NUNO, DeepONet
from ..problem import Problem
from .augment import find_covariance
from .equations import Equations
from .layout import Layout, make_layout
from .learner import Learner
from .march import rollout, stretch
from .models import (
    MODELS,
    POINTS,
    Normaliser,
    Operator,
    build_model,
    build_point_model,
    first_differences,
    relative_errors,
    resampled,
)
from .norms import Norm, Plain, build_norms, sizes
from .parallel import join
from .places import Places
from .recipe import DTYPES, OperatorRecipe
from .samples import Samples, check_files, coefficients, draw, solve_samples, stored_samples
from .symmetry import family_symmetries
from .trunk import TrunkResidual

EVALUATED = 50            # functions per pass without gradients


class OperatorTraining(Learner):
    """A run in progress.

    Args:
        problem: A family.
        recipe: How its operator is learnt.
        heard: Told (done, total) while samples are made.

    Raises:
        ProblemError: Recipe and problem do not go together.
    """

    def __init__(self, problem: Problem, recipe: OperatorRecipe, heard: Callable[[int, int], None] | None = None):
        if not problem.inputs:
            raise ProblemError(f"model={recipe.model} learns a map from functions to functions, and the problem has no "
                               "random inputs; give it inputs=dict(a=GaussianRandomField(…)), or take model=mlp")
        self.problem, self.data = problem, recipe.data_options()
        if problem.chart and self.data.history:
            raise ProblemError("data.history: snapshots do not say which body they are of; leave it out where the "
                               "problem has a chart")
        solvable = isinstance(problem.reference, BatchSolver)
        loss = recipe.loss if recipe.loss != "auto" else "data" if solvable else "residual"
        if loss != "residual" and not solvable:
            raise ProblemError(f"loss={loss} needs solutions, and the problem's reference solves no families; give one "
                               "of sciml.generators as reference=, or train with loss=residual")
        if loss != "data" and isinstance(problem.reference, BatchSolver):
            if absent := [u for u in problem.unknowns if u not in problem.reference.gives]:
                raise ProblemError(f"loss={loss} learns all unknowns, and the reference does not give "
                                   f"{', '.join(absent)} to test on; train with loss=data, or leave reference= out")
        self.recipe = recipe = replace(recipe, loss=loss)
        self.layout = make_layout(problem, self.data, loss != "data")
        self.places = Places(problem)
        self.dtype, self.device = DTYPES[recipe.dtype], join(recipe.device)
        self._make_samples(solvable, heard)
        self.equations = Equations(problem) if loss != "data" or recipe.augment != "none" else None
        few = {n: v[:8] for n, v in self.exact_inputs.items()}
        if self.equations is not None and loss != "data":
            self.equations.check(self.layout, few)
        self.symmetries = family_symmetries(problem, self._equations(), self.layout, self.data) \
            if recipe.augment == "symmetry" else None
        changes = recipe.augment == "covariance"
        self.covariance = find_covariance(self._equations(), self.layout, few) if changes else None
        self.operator = self._build().to(self.device)
        on_faces = self.equations is not None and bool(self.equations.faces)
        if on_faces and recipe.residual == "trunk":
            raise ProblemError("residual=trunk takes points inside, and a condition has derivatives on a face; take "
                               "residual=grid")
        by_trunk = recipe.residual == "trunk" or (recipe.residual == "auto" and recipe.model == "deeponet"
                                                  and not problem.rough and not on_faces)
        self.norms = build_norms(self._equations(), self.layout, self._cast(few), recipe.precondition) \
            if loss != "data" else {}
        self._kept_starts: list[Tensor] = []
        self.reach: dict[str, Tensor] = {}             # |R[G + s B]|² by equation
        if loss != "data":
            self.operator.scale.fill_(self._find_scale())
        self.trunk = TrunkResidual(problem, float(self.operator.scale)) if loss != "data" and by_trunk else None
        if self.trunk is not None:                     # its norm is the mean square
            self._trunk_reach = self._reach(float(self.operator.scale), dict.fromkeys(self.norms, Plain()))
        if self.trunk is not None and self.data.file:
            raise ProblemError("residual=trunk draws its own functions; leave data.file out, or take residual=grid")
        self._coefficients = coefficients(problem, self.data.train, self.data.seed) if self.trunk is not None else {}
        self.begin(recipe, self.operator, self.data.train)

    # what it is made of ----------------------------------------------------------------------------------------------

    def _make_samples(self, solvable: bool, heard) -> None:
        """Training and test samples in the run's dtype on its device."""
        data, layout, problem = self.data, self.layout, self.problem
        check_files(problem, data.train, data.test)
        count = data.train + data.test
        said = None if heard is None else lambda done: heard(done, count)
        self.solved_seconds = 0.0
        if data.file:
            self._stored(solvable, heard)
            return
        if self.recipe.loss == "residual":
            self.exact_inputs: Mapping[str, Tensor] = draw(problem, layout, data.train, data.seed)
            self.train = Samples(self._cast(self.exact_inputs))
        else:
            found = solve_samples(problem, layout, data.train, data.seed, heard=said)
            self.solved_seconds += found.seconds
            self.exact_inputs = found.inputs
            self.train = found.to(torch.empty(0, dtype=self.dtype, device=self.device))
        self.test: Samples | None = None
        if solvable:
            first = data.train
            tested = solve_samples(problem, layout, data.test, data.seed, True,
                                   heard=None if said is None else lambda done: said(first + done))
            self.solved_seconds += tested.seconds
            self.test = tested.to(torch.empty(0, dtype=self.dtype, device=self.device))

    def _stored(self, solvable: bool, heard) -> None:
        """Samples of the file that the recipe names."""
        data = self.data
        if not solvable or self.recipe.loss == "residual":
            raise ProblemError(f"data.file={data.file!r} keeps solutions, and loss={self.recipe.loss} takes none; "
                               "leave it out, or train with loss=data or both")
        train, test, self.solved_seconds = stored_samples(self.problem, self.layout, data.file, data.train, data.test,
                                                          data.seed, heard)
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        self.exact_inputs, self.train, self.test = train.inputs, train.to(like), test.to(like)

    def _cast(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: v.to(self.device, self.dtype) for n, v in inputs.items()}

    def _equations(self) -> Equations:
        assert self.equations is not None
        return self.equations

    def _build(self) -> Operator:
        recipe, layout = self.recipe, self.layout
        one = layout if not self.data.unroll else layout.first(layout.history + 1)
        periodic = tuple(a.periodic for a in layout.axes)
        channels = self.channels(self.train)
        model = self._point_model(one, channels) if recipe.model in POINTS else \
            build_model(recipe.model, one, recipe.options.get("model", {}), recipe.seed, self.dtype)
        parts = layout.sensor_counts if MODELS[recipe.model].sensors else ()
        if recipe.model in POINTS:
            channels = channels.flatten(1, -2)
        encoder = Normaliser(channels, False, (False,) * (channels.ndim - 2), parts)
        decoder = None
        if recipe.loss == "data":
            assert self.train.outputs is not None
            targets = self.targets(self.train)
            if self.data.unroll:                           # every snapshot is the next one of some window
                C = len(layout.unknowns)
                targets = torch.cat(targets.split(C, -1))
            if self.symmetries is not None:                # the table must be symmetric too
                targets = torch.cat([targets, *(self.symmetries.random(torch.Generator().manual_seed(k))(
                    targets, layout.names) for k in range(16))])
            decoder = Normaliser(targets, not all(periodic), periodic)
        return Operator(model, MODELS[recipe.model].grid, encoder, decoder)

    def _point_model(self, layout: Layout, channels: Tensor) -> nn.Module:
        """A model that takes the nodes as points of the bodies."""
        recipe = self.recipe
        X, _ = self.places.weighted(layout, self.train.inputs, channels)
        flat = X.reshape(-1, X.shape[-1])
        bounds = [(float(a), float(b)) for a, b in zip(flat.amin(0), flat.amax(0), strict=True)]
        model = build_point_model(recipe.model, channels.shape[-1], layout.outputs, bounds,
                                  recipe.options.get("model", {}), recipe.seed, self.dtype)
        if isinstance(model, NUNO):
            model.fit(X.double().expand(len(channels), *X.shape[-2:]))
        return model

    def channels(self, samples: Samples) -> Tensor:
        """What goes in, (B, n_1, …, n_d, F)."""
        H, C = self.layout.history, len(self.layout.unknowns)
        if MODELS[self.recipe.model].sensors:
            return self.layout.sensed(samples.inputs)
        if H:
            assert samples.outputs is not None
            return samples.outputs[..., :H * C]
        return self.layout.channels(samples.inputs)

    def targets(self, samples: Samples) -> Tensor:
        """What should come out, (B, n_1, …, n_d, C K)."""
        assert samples.outputs is not None
        return samples.outputs[..., self.layout.history * len(self.layout.unknowns):]

    def _find_scale(self) -> float:
        """s: the size of G, or the constant output with the least residual among powers of ten; sets `reach`."""
        inputs = {n: v[:16] for n, v in self.train.inputs.items()}
        equations, layout = self._equations(), self.layout
        G = equations.lift(layout, inputs)
        B = equations.bubble(layout, inputs)
        size = float(G.double().std())
        if not size > 1e-5 * float(G.abs().max()):     # else G is constant up to rounding and says nothing of u
            losses = {}
            for s in (10.0**k for k in range(-6, 4)):
                self.reach = self._reach(s, self.norms)
                losses[s] = min(float(self._residual_loss(G + sign * s * B, inputs)) for sign in (1, -1))
            size = min(losses, key=lambda s: losses[s])
        self.reach = self._reach(size, self.norms)
        return size

    def _reach(self, s: float, norms: Mapping[str, Norm]) -> dict[str, Tensor]:
        """Mean of |R[G + s B]|² over some functions, by equation."""
        inputs = {n: v[:16] for n, v in self.train.inputs.items()}
        equations, layout = self._equations(), self.layout
        u = equations.lift(layout, inputs) + s * equations.bubble(layout, inputs)
        return {r.name: norms[r.name](r.values).mean() for r in equations.residuals(layout, u, inputs)}

    # the loss --------------------------------------------------------------------------------------------------------

    def _on(self, layout: Layout, inputs: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The operator on a grid, from channels (B, n_1, …, n_d, F) to outputs."""
        if MODELS[self.recipe.model].sensors:
            return lambda v: self.operator(v, layout.points().to(v), shape=layout.shape)
        if self.recipe.model not in POINTS:
            return lambda v: self.operator(v, layout.coordinates(v))

        def at_points(v: Tensor) -> Tensor:
            X, weights = self.places.weighted(layout, inputs, v)
            return self.operator(v.flatten(1, -2), X, weights, layout.shape)

        return at_points

    def predict(self, channels: Tensor, inputs: Mapping[str, Tensor], layout: Layout | None = None) -> Tensor:
        """û on a grid, (B, n_1, …, n_d, C K)."""
        layout = layout or self.layout
        apply = self._on(layout, inputs)
        out = rollout(apply, channels, layout.steps) if self.data.unroll else apply(channels)
        if self.operator.decoder is not None:
            return out
        equations = self._equations()
        return equations.lift(layout, inputs) + equations.bubble(layout, inputs) * out

    def _residual_loss(self, u: Tensor, inputs: Mapping[str, Tensor], start: Sequence[Tensor] | None = None) -> Tensor:
        """Mean over the batch of |r|/|r₀|, summed over the equations; |r₀|² by equation where it is known."""
        found = self._equations().residuals(self.layout, u, inputs)
        total = u.new_zeros(())
        for r, r0 in zip(found, self._start(inputs, len(u)) if start is None else start, strict=True):
            total = total + (self.norms[r.name](r.values) / sizes(r0, self.reach[r.name])).sqrt().mean()
        return total

    @torch.no_grad()
    def _start(self, inputs: Mapping[str, Tensor], count: int) -> list[Tensor]:
        """|r₀|² of u = G, (B,) by equation."""
        equations, layout = self._equations(), self.layout
        G = equations.lift(layout, inputs)
        found = equations.residuals(layout, G.expand(count, *G.shape[1:]), inputs)
        return [self.norms[r.name](r.values) for r in found]

    def _starts(self, index: Tensor) -> list[Tensor] | None:
        """The same of training functions, found once; None where augmentation changes them."""
        if self.symmetries is not None or self.covariance is not None:
            return None
        if not self._kept_starts:
            parts = [self._start(few.inputs, len(few)) for i in range(0, len(self.train), EVALUATED)
                     if (few := self.train.part(slice(i, i + EVALUATED)))]
            self._kept_starts = [torch.cat(each) for each in zip(*parts, strict=True)]
        return [each[index.to(self.device)] for each in self._kept_starts]

    def _data_loss(self, u: Tensor, target: Tensor) -> Tensor:
        C = len(self.layout.unknowns)
        loss = relative_errors(u, target, C).mean()
        if self.recipe.h1:
            periodic = tuple(a.periodic for a in self.layout.axes)
            e, t = (first_differences(x, periodic) for x in (u - target, target))
            loss = loss + self.recipe.h1 * (torch.linalg.vector_norm(e, dim=1) /
                                            torch.linalg.vector_norm(t, dim=1)).mean()
        return loss

    def draw_epoch(self) -> None:
        """New input functions in every epoch, where the recipe asks for them."""
        if self.data.fresh and self.recipe.loss == "residual" and self.epoch:
            self._draw(self.epoch * self.data.train)

    def _draw(self, first: int) -> None:
        data = self.data
        self.train = Samples(self._cast(draw(self.problem, self.layout, data.train, data.seed, first)))
        self._kept_starts = []
        if self.trunk is not None:
            self._coefficients = coefficients(self.problem, data.train, data.seed, first)

    def loss_of(self, index: Tensor) -> Tensor:
        """Loss of a batch of training functions."""
        batch = self._batch(index)
        if self.data.unroll:
            return self._march_loss(batch)
        if self.trunk is None:
            return self._loss(batch, index)
        loss = self._trunk_loss(self.trunk, batch, index)
        if self.recipe.loss == "both":
            loss = loss + self._data_loss(self.predict(self.channels(batch), batch.inputs), self.targets(batch))
        return loss

    def _trunk_loss(self, trunk: TrunkResidual, batch: Samples, index: Tensor) -> Tensor:
        """Mean over the batch of |r|/|r₀| at new points, summed over the equations."""
        names = self.problem.coordinates                 # the operator's own order has time last
        order = [names.index(n) for n in self.layout.names]
        low, high = torch.tensor(self.problem.region.bounds, dtype=torch.float64).T
        X = low + (high - low) * torch.rand(self.data.points, len(low), generator=self.generator, dtype=torch.float64)
        X = X.to(self.device, self.dtype)
        model = self.operator.model
        assert isinstance(model, DeepONet)
        v = self.operator.encoder.encode(self.channels(batch))
        N = model.stream(v, X[:, order], [tuple(alpha[i] for i in order) for alpha in trunk.alphas])
        held = {n: c[index.cpu()] for n, c in self._coefficients.items()}
        found = trunk(N, X, held)
        with torch.no_grad():
            start = trunk(torch.zeros_like(N), X, held)
        total = X.new_zeros(())
        norm = Plain()
        for name, r in found.items():
            total = total + (norm(r) / sizes(norm(start[name]), self._trunk_reach[name])).sqrt().mean()
        return total

    def _batch(self, index: Tensor) -> Samples:
        batch = self.train.part(index.to(self.device))
        if self.symmetries is not None:
            one, names = self.symmetries.random(self.generator), self.layout.names
            batch = Samples({n: one(v, self.layout.over[n]) for n, v in batch.inputs.items()},
                            None if batch.outputs is None else one(batch.outputs, names))
        if self.covariance is not None:
            batch = self.covariance.random(batch, self.generator)
        return batch

    def _march_loss(self, batch: Samples) -> Tensor:
        """Loss of some steps from random snapshots on."""
        data, C = self.data, len(self.layout.unknowns)
        assert batch.outputs is not None
        window, later = stretch(batch.outputs, data.history, data.unroll, C, self.generator)
        found = rollout(self._on(self.layout, batch.inputs), window, data.unroll, data.pushforward)
        if data.pushforward:
            found, later = found[..., -C:], later[..., -C:]
        return self._data_loss(found, later)

    def _loss(self, batch: Samples, index: Tensor | None = None) -> Tensor:
        u = self.predict(self.channels(batch), batch.inputs)
        loss = u.new_zeros(())
        if self.recipe.loss != "residual":
            loss = loss + self._data_loss(u, self.targets(batch))
        if self.recipe.loss != "data":
            loss = loss + self._residual_loss(u, batch.inputs, None if index is None else self._starts(index))
        return loss

    @torch.no_grad()
    def evaluate(self, samples: Samples, layout: Layout | None = None) -> Tensor:
        """Predictions on samples, (B, n_1, …, n_d, C K)."""
        channels = self.channels(samples) if layout is None or self.layout.history else \
            self._channels_on(layout, samples)
        parts = []
        for i in range(0, len(samples), EVALUATED):
            few = {n: v[i:i + EVALUATED] for n, v in samples.inputs.items()}
            parts.append(self.predict(channels[i:i + EVALUATED], few, layout))
        return torch.cat(parts)

    def _channels_on(self, layout: Layout, samples: Samples) -> Tensor:
        """What goes in on another grid; a DeepONet's sensors stay where they were."""
        if not MODELS[self.recipe.model].sensors:
            return layout.channels(samples.inputs)
        return self.layout.sensed({n: resampled(v, layout.over[n], layout, self.layout)
                                   for n, v in samples.inputs.items()})

    def test_errors(self) -> Tensor | None:
        """Relative errors of the test samples by unknown, (B, C)."""
        if self.test is None:
            return None
        return relative_errors(self.evaluate(self.test), self.targets(self.test), len(self.layout.unknowns))

    def errors(self) -> dict[str, float]:
        """Mean relative errors by unknown, of at most 100 test functions until the end."""
        if self.test is None:
            return {}
        some = self.test if self.finished() or len(self.test) <= 100 else self.test.part(slice(0, 100))
        each = relative_errors(self.evaluate(some), self.targets(some), len(self.layout.unknowns)).mean(0)
        return {u: float(e) for u, e in zip(self.layout.unknowns, each, strict=True)}

    def load_state_dict(self, state: Mapping) -> None:
        """Restores `state_dict`."""
        super().load_state_dict(state)
        if self.data.fresh and self.recipe.loss == "residual" and self.epoch > 1:
            self._draw((self.epoch - 1) * self.data.train)
