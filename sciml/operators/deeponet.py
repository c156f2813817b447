"""DeepONets: G(u)(y) = Σ_k b_k(u) t_k(y) + b₀, always as a product of a table of functions and a table of points.

The trunk is written in jets (`calculus/jet.py`), so that ∂^α G = Σ_k b_k ∂^α t_k comes from one pass over the points,
for all functions together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import pi

import torch
from torch import Generator, Tensor, nn

from ..calculus.activations import ACTIVATIONS
from ..calculus.indices import IndexSet, MultiIndex
from ..calculus.jet import Jet, activate, add, join, linear, multiply, subtract
from ..errors import ProblemError, look_up
from .pointwise import Bounds, Box, Constant, Dense


class Inputs(nn.Module):
    """What a trunk sees of a point: coordinates in [−1, 1], harmonics of periodic ones, random features.

    Args:
        bounds: (low, high) per coordinate.
        periods: Period by column: that coordinate enters as cos, sin 2πkx/L, k = 1…harmonics, and not by itself.
        harmonics: Their number.
        fourier: Random features cos Bz, sin Bz that are added, B ~ N(0, σ²), z in [−1, 1]^D; not with periods.
        sigma: σ.
        generator: Source of B.

    Raises:
        ProblemError: A period of a column that does not exist, or random features of a periodic coordinate.

    Source: Tancik et al. (2020), arXiv:2006.10739, for random features.
    """

    B: Tensor

    def __init__(self, bounds: Bounds, periods: Mapping[int, float] | None = None, harmonics: int = 1, fourier: int = 0,
                 sigma: float = 1.0, generator: Generator | None = None):
        super().__init__()
        box, periods = Box(bounds), dict(periods or {})
        D = box.dimension
        if any(column not in range(D) for column in periods) or (periods and fourier):
            raise ProblemError(f"periods={periods} must be given by column 0…{D - 1}, and random features (fourier="
                               f"{fourier}) have no period: take one of them")
        unit = lambda i, value: tuple(value if j == i else 0.0 for j in range(D))
        plain = [i for i in range(D) if i not in periods]
        self.scale = Constant([unit(i, 2 / box.sizes[i]) for i in plain])
        self.shift = Constant([-2 * box.lows[i] / box.sizes[i] - 1 for i in plain])
        self.waves = Constant([unit(i, 2 * pi * k / L) for i, L in periods.items() for k in range(1, harmonics + 1)])
        self.register_buffer("B", sigma * torch.randn(fourier, D, generator=generator, dtype=torch.float32))
        self.outputs = len(plain) + 2 * (len(self.waves) + fourier)

    def forward(self, x: Jet) -> Jet:
        """Jet of the coordinates → jet of the inputs of a network."""
        like = x.data.dtype, x.data.device
        parts, phases = [], []
        if len(self.scale):
            parts.append(linear(x, self.scale.to(*like), self.shift.to(*like)))
        if len(self.waves):
            phases.append(linear(x, self.waves.to(*like)))
        if len(self.B):
            phases.append(linear(parts[0], self.B))
        for phase in phases:
            parts += [activate(phase, ACTIVATIONS["cos"]), activate(phase, ACTIVATIONS["sin"])]
        return parts[0] if len(parts) == 1 else join(parts)


class Stack(nn.Module):
    """A network on jets that hands out its hidden layers: branch and trunk are one each.

        h ← σ(W h + b),  or gated  h ← Z ⊙ U + (1 − Z) ⊙ V,  Z = σ(W h + b),  U, V = σ of two linear layers of the input

    Args:
        inputs: Channels.
        width: Hidden channels.
        depth: Hidden layers.
        activation: One of `ACTIVATIONS`.
        gated: See above.
        generator: Source of the weights.

    Source: gates of Wang, Teng, Perdikaris (2021), doi:10.1137/20M1318043. Branch and trunk have gates of their own
        here: gates shared by both (arXiv:2110.01654) depend on function and point and end the product of tables.
    """

    def __init__(self, inputs: int, width: int, depth: int, activation: str, gated: bool,
                 generator: Generator | None = None):
        super().__init__()
        self.sigma = look_up("activation", activation, ACTIVATIONS)
        self.hidden = nn.ModuleList(Dense(a, width, generator) for a in [inputs, *[width] * (depth - 1)])
        self.gates = nn.ModuleList(Dense(inputs, width, generator) for _ in range(2 if gated else 0))

    def forward(self, h: Jet) -> list[Jet]:
        """The `depth` hidden layers."""
        layer = lambda dense, h: activate(linear(h, dense.weight, dense.bias), self.sigma)
        if len(self.gates):
            U, V = (layer(gate, h) for gate in self.gates)
            difference = subtract(U, V)
        found = []
        for dense in self.hidden:
            h = layer(dense, h)
            if len(self.gates):
                h = add(V, multiply(h, difference))
            found.append(h)
        return found


class DeepONet(nn.Module):
    """G(u)(y)_c = Σ_k b_ck(u) t_k(y) + b₀_c with a branch b of sensor values and a trunk t of points.

    Args:
        inputs: C_in, channels of the input function.
        outputs: C_out.
        sensors: S, how many sensors give u.
        bounds: (low, high) per coordinate of y.
        width: Hidden channels of branch and trunk.
        depth: Their hidden layers.
        functions: p, the trunk's functions t_k (with `multi`: the hidden layers are the functions, width each).
        gated: Gates in both nets, see `Stack`.
        multi: MultiONet: (1/L) Σ_l ⟨branch_l(u), trunk_l(y)⟩ over the hidden layers; each branch_l has a linear layer
            after it, one for each output.
        activation: Of both, one of `ACTIVATIONS`; smooth if derivatives are asked for.
        embedding: Arguments of `Inputs`: periods, harmonics, fourier, sigma.
        generator: Source of the weights; None: torch's own.

    Raises:
        ProblemError: Options that do not exist or do not fit.

    Source: Lu et al. (2021), doi:10.1038/s42256-021-00302-5; derivatives through the trunk as in Wang, Wang, Perdikaris
        (2021), doi:10.1126/sciadv.abi8605; MultiONet after the "deep generative neural operator".
    """

    def __init__(self, inputs: int, outputs: int, sensors: int, bounds: Bounds = ((0.0, 1.0),), width: int = 100,
                 depth: int = 4, functions: int = 100, gated: bool = False, multi: bool = False,
                 activation: str = "tanh", embedding: Mapping | None = None, generator: Generator | None = None):
        super().__init__()
        if min(inputs, outputs, sensors, width, depth, functions) < 1:
            raise ProblemError(f"inputs={inputs}, outputs={outputs}, sensors={sensors}, width={width}, depth={depth} "
                               f"and functions={functions} must be at least 1")
        self.inputs, self.outputs, self.sensors, self.dimension = inputs, outputs, sensors, len(bounds)
        wrong = set(embedding or {}) - {"periods", "harmonics", "fourier", "sigma"}
        if wrong:
            raise ProblemError(f"embedding has no {', '.join(sorted(wrong))}; it takes periods, harmonics, fourier and "
                               "sigma")
        self.seen = Inputs(bounds, **(embedding or {}), generator=generator)
        self.branch = Stack(sensors * inputs, width, depth, activation, gated, generator)
        self.trunk = Stack(self.seen.outputs, width, depth, activation, gated, generator)
        self.multi, rows = multi, width if multi else functions
        self.heads = nn.ModuleList(Dense(width, outputs * rows, generator) for _ in range(depth if multi else 1))
        self.functions = None if multi else Dense(width, functions, generator)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def coefficients(self, v: Tensor) -> Tensor:
        """b(u), shape (B, C_out, p), from sensor values (B, S, C_in) or on a grid of S nodes (B, …, C_in)."""
        if v.ndim < 3 or v.shape[-1] != self.inputs or v[0, ..., 0].numel() != self.sensors:
            raise ProblemError(f"sensor values have shape {tuple(v.shape)}, expected (B, {self.sensors}, "
                               f"{self.inputs}): instances, sensors, channels; a DeepONet "
                               "reads every function at the same sensors")
        B = len(v)
        none: IndexSet = IndexSet.closure((), 1)
        hidden = self.branch(Jet(v.reshape(1, B, -1), none))
        kept = hidden if self.multi else hidden[-1:]
        parts = [head(h.value).reshape(B, self.outputs, -1) for head, h in zip(self.heads, kept, strict=True)]
        return torch.cat(parts, -1) / len(parts)

    def tables(self, X: Tensor, alphas: Sequence[MultiIndex]) -> Tensor:
        """∂^α t_k(x), shape (S, N, p) for S multi-indices, from one Taylor-mode pass over X (N, D)."""
        indices = IndexSet.closure(alphas, self.dimension)
        hidden = self.trunk(self.seen(Jet.of_coordinates(X, indices)))
        if self.functions is None:
            t = join(hidden)
        else:
            t = linear(hidden[-1], self.functions.weight, self.functions.bias)
        return torch.stack([t.stream(alpha) for alpha in alphas])

    def stream(self, v: Tensor, X: Tensor, alphas: Iterable[MultiIndex]) -> Tensor:
        """Derivatives of the outputs in y, for all functions from one pass of the trunk.

            ∂^α G(u)(y) = Σ_k b_k(u) ∂^α t_k(y)

        Args:
            v: Sensor values, shape (B, S, C_in).
            X: Points, shape (N, D).
            alphas: Multi-indices, each D whole numbers; zeros: the value.

        Returns:
            Shape (number of alphas, B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit.
        """
        self._check(X, len(v), shared=True)
        alphas = [tuple(alpha) for alpha in alphas]
        with torch.autocast(X.device.type, enabled=False):                     # derivatives need all their digits
            T, b = self.tables(X, alphas), self.coefficients(v)
            found = _product(b, T.reshape(-1, T.shape[-1])).reshape(len(v), *T.shape[:2], -1).transpose(0, 1)
        value = torch.tensor([not any(alpha) for alpha in alphas], dtype=found.dtype, device=found.device)
        return found + value[:, None, None, None] * self.bias

    def forward(self, v: Tensor, X: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Values at points.

        Args:
            v: Sensor values, shape (B, S, C_in), or on a grid of S nodes (B, n_1, …, C_in).
            X: Points, shape (N, D), or (B, N, D) for points of each function's own.
            weights: Not used.

        Returns:
            Shape (B, N, C_out).

        Raises:
            ProblemError: Shapes that do not fit, or no points.
        """
        X = self._check(X, len(v))
        T = self.tables(X.reshape(-1, self.dimension), [(0,) * self.dimension])[0]
        b = self.coefficients(v)
        found = _product(b, T) if X.ndim == 2 else T.reshape(*X.shape[:2], -1) @ b.mT
        return found + self.bias

    def _check(self, X: Tensor | None, B: int, shared: bool = False) -> Tensor:
        if X is None or X.shape[-1] != self.dimension or X.ndim not in (2, 2 if shared else 3) or \
                (X.ndim == 3 and len(X) != B):
            both = "" if shared else f" or ({B}, N, {self.dimension})"
            raise ProblemError(f"points have shape {None if X is None else tuple(X.shape)}, expected (N, "
                               f"{self.dimension}){both}: where the output is asked for")
        return X


def _product(b: Tensor, T: Tensor) -> Tensor:
    """Σ_k b_bck T_nk, shape (B, N, C): one matrix product."""
    B, C, p = b.shape
    return (T @ b.reshape(B * C, p).t()).reshape(len(T), B, C).transpose(0, 1)
