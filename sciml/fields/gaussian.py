"""Fields made of Gaussians, as in splatting: an adaptive basis whose derivatives are closed formulas.

    u_c(x) = Σ_i a_ic G_i(x),    G_i(x) = exp(−½ (x − μ_i)ᵀ Σ_i⁻¹ (x − μ_i)),    Σ_i = R_i diag(s_i²) R_iᵀ

The field is linear in its amplitudes a, its head: for a linear equation one least-squares solution is the training
(`optimizer="least-squares"`), and centres and shapes are left where they are or follow by variable projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from ..calculus.compact import widened
from ..calculus.compact_sums import CompactRecord, compact_sums, dense_streams, every
from ..calculus.gaussian import GaussianRecord, streams, sums
from ..calculus.indices import IndexSet
from ..calculus.jet import Jet, linear
from ..errors import ProblemError
from .field import Field

COVARIANCES = ("isotropic", "diagonal", "full")
TRAINED = ("amplitudes", "shapes")
MARGIN = 2.302585                      # log 10: how far scales may leave the range they have
LEAST = 2.0                            # of a cutoff


class GaussianField(Field):
    """A sum of M Gaussians with C amplitudes each.

    Args:
        centres: μ, shape (M, D).
        scales: s, shape (M, D), (M, 1) or (M,), positive.
        outputs: C.
        covariance: "isotropic" (one s per Gaussian), "diagonal", or "full" (s and a rotation R = exp(skew(ω))).
        train: "amplitudes", or "shapes": centres, scales and rotations as well.
        periods: Period by column of periodic coordinates: each Gaussian has an image on either side.
        dtype: Of the parameters.
        overlap: c, scale over distance of neighbours, which Gaussians that are added later keep to.
        cutoff: κ, the radius in scales at which Gaussians end, by a smooth taper for which their scales are widened
            (`calculus/compact.py`); points then see only those that are near, found through cells, and Jacobians are
            sparse. None: they end nowhere.

    Attributes:
        amplitudes: a, shape (C, M).
        centres: μ.
        log_scales: log s, shape (M, D); (M, 1) if isotropic.
        rotations: ω, shape (M, D (D − 1)/2), of full covariances.

    Raises:
        ProblemError: Shapes do not fit, a scale is not positive, or a cutoff is below 2.

    Note:
        A cutoff changes what a lattice can do by e^{−κ²/2} or so: at overlap 1.2 and κ = 5 Helmholtz' equation is
        solved to about the same error. Amplitudes of a field with one and of a field without are not the same.

        Scales stay between a tenth and ten times the range of those at the start, and centres within the box of those
        at the start widened by the largest scale: beyond that their derivatives vanish, and nothing moves them further.

    Source: for Gaussians as fields of differential equations, Kang et al. (2025), Physics-Informed Gaussians, ICLR,
        arXiv:2412.05994, who train all parameters by gradients; closed forms and solved amplitudes are our own notes'.
    """

    amplitudes: nn.Parameter
    low: Tensor
    high: Tensor

    def __init__(self, centres: Tensor, scales: Tensor, outputs: int = 1, covariance: str = "diagonal",
                 train: str = "amplitudes", periods: dict[int, float] | None = None,
                 dtype: torch.dtype = torch.float64, overlap: float = 1.2, cutoff: float | None = None):
        super().__init__()
        _check(centres, scales, covariance, train, cutoff)
        M, D = centres.shape
        scales = scales.reshape(M, -1)
        if covariance == "isotropic":
            scales = scales.log().mean(1, keepdim=True).exp()
        elif scales.shape[1] == 1:
            scales = scales.expand(M, D)
        self.covariance, self.outputs, self.dimension = covariance, outputs, D
        self.periods, self.overlap, self.cutoff = dict(periods or {}), float(overlap), cutoff
        shapes = train == "shapes"
        self.amplitudes = nn.Parameter(torch.zeros(outputs, M, dtype=dtype))
        self.centres = nn.Parameter(centres.to(dtype).clone(), requires_grad=shapes)
        self.log_scales = nn.Parameter(scales.to(dtype).log().clone(), requires_grad=shapes)
        self.rotations: nn.Parameter | None = None
        if covariance == "full":
            self.rotations = nn.Parameter(torch.zeros(M, D * (D - 1) // 2, dtype=dtype), requires_grad=shapes)
        self.register_buffer("low", self.log_scales.detach().min() - MARGIN)
        self.register_buffer("high", self.log_scales.detach().max() + MARGIN)

    @property
    def count(self) -> int:
        """M, the number of Gaussians."""
        return self.centres.shape[0]

    @property
    def head(self):
        """The amplitudes."""
        return (self.amplitudes,)

    def shape(self) -> Tensor:
        """log s within its bounds, shape (M, D), or Σ, shape (M, D, D), of full covariances."""
        log_s: Tensor = self.log_scales
        if log_s.requires_grad or self.covariance == "isotropic":
            log_s = log_s.clamp(self.low, self.high).expand(-1, self.dimension)
        return log_s if self.rotations is None else covariances(log_s, self.rotations)

    @torch.no_grad()
    def put(self, centres: Tensor, log_scales: Tensor, amplitudes: Tensor, rotations: Tensor | None = None) -> None:
        """Takes other Gaussians, as many as there are, in place of its own: new parameters, which no optimizer knows.

        Args:
            centres: μ, shape (M, D).
            log_scales: log s, shape (M, D), or (M, 1) if isotropic.
            amplitudes: a, shape (C, M).
            rotations: ω, shape (M, D (D − 1)/2); None: zero, where there are any.
        """
        own = self.log_scales
        widths = log_scales.expand(-1, own.shape[1]) if log_scales.shape[1] == 1 else log_scales
        if own.shape[1] == 1:
            widths = log_scales.mean(1, keepdim=True)
        given = {"centres": centres, "log_scales": widths, "amplitudes": amplitudes}
        if self.rotations is not None:
            given["rotations"] = self.rotations.new_zeros(len(centres), self.rotations.shape[1]) \
                if rotations is None else rotations
        for name, value in given.items():
            old = getattr(self, name)
            setattr(self, name, nn.Parameter(value.detach().to(old).clone(memory_format=torch.contiguous_format),
                                             requires_grad=old.requires_grad))
        self.low.copy_(torch.minimum(self.low, self.log_scales.min() - MARGIN))
        self.high.copy_(torch.maximum(self.high, self.log_scales.max() + MARGIN))

    def grow(self, centres: Tensor, scales: Tensor) -> None:
        """Adds K Gaussians with amplitude zero: the field stays what it is, and the space it lies in gets larger.

        Args:
            centres: μ, shape (K, D).
            scales: s, shape (K, D).
        """
        logs = scales.log().to(self.log_scales)
        own = self.log_scales.detach()
        logs = logs.mean(1, keepdim=True) if own.shape[1] == 1 else logs
        rotations = None if self.rotations is None else \
            torch.cat([self.rotations, self.rotations.new_zeros(len(centres), self.rotations.shape[1])])
        self.put(torch.cat([self.centres.detach(), centres.to(self.centres)]), torch.cat([own, logs]),
                 torch.cat([self.amplitudes.detach(), self.amplitudes.new_zeros(self.outputs, len(centres))], dim=1),
                 rotations)

    def keep(self, index: Tensor) -> None:
        """Leaves only the Gaussians at `index`, a mask or positions."""
        self.put(self.centres[index], self.log_scales[index], self.amplitudes[:, index],
                 None if self.rotations is None else self.rotations[index])

    @torch.no_grad()
    def parts(self) -> dict[str, Tensor]:
        """`centres` (M, D), `covariances` Σ (M, D, D) and `amplitudes` (M, C)."""
        shape = self.shape()
        sigma = shape if shape.ndim == 3 else torch.diag_embed(torch.exp(2 * shape))
        return {"centres": self.centres.detach(), "covariances": sigma, "amplitudes": self.amplitudes.detach().T}

    def transport(self, flow: Callable[[Tensor], Tensor], density: bool = False) -> GaussianField:
        """The field after its Gaussians were carried by a flow, each by the flow's linearisation at its centre.

            μ′ = φ(μ),   Σ′ = F Σ Fᵀ,   F = ∂φ/∂x (μ),   a′ = a   or   a / |det F|

        Exact for affine flows: u′(φ(x)) = u(x), and with `density` the integral of u over any set is kept.

        Args:
            flow: φ, from points (N, D) to points (N, D), row by row, written in torch functions.
            density: Whether u is a density, which the flow dilutes, and not a value that it carries along.

        Returns:
            A field with full covariances; in one dimension with diagonal ones.

        Raises:
            ProblemError: The flow does not keep the shape of points, or folds or flattens space at a centre.
        """
        mu, parts = self.centres.detach(), self.parts()
        moved = flow(mu)
        if moved.shape != mu.shape:
            raise ProblemError(f"a flow maps points {tuple(mu.shape)} to {tuple(moved.shape)}; it must keep their "
                               "shape")
        F = torch.func.vmap(torch.func.jacrev(lambda x: flow(x[None])[0]))(mu)
        if not bool(torch.isfinite(F).all()) or not bool((torch.linalg.det(F).abs() > 0).all()):
            raise ProblemError("the flow flattens space at the centre of a Gaussian, which would have no width there; "
                               "take a flow with an inverse")
        sigma = F @ parts["covariances"] @ F.mT
        a = self.amplitudes.detach() / (torch.linalg.det(F).abs() if density else 1.0)
        trained = "shapes" if self.centres.requires_grad else "amplitudes"
        found = of_covariances(moved, sigma, a, trained, self.overlap)
        found.cutoff = self.cutoff
        return found

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        """A state with another number of Gaussians is one of before or after growth."""
        stored = {n: state_dict.get(prefix + n) for n in ("centres", "log_scales", "amplitudes", "rotations")}
        centres, amplitudes = stored["centres"], stored["amplitudes"]
        if centres is not None and amplitudes is not None and len(centres) != self.count and \
                centres.shape[1:] == self.centres.shape[1:] and len(amplitudes) == self.outputs:
            self.put(centres, stored["log_scales"], amplitudes, stored["rotations"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def features(self, x: Jet) -> Jet:
        """G_i that end nowhere and their derivatives, images along periodic coordinates included, shape (S, N, M)."""
        assert self.cutoff is None                       # those that end are summed by pairs
        X = self._points(x)
        centres, shape = self.centres, self.shape()
        total: Tensor | None = None
        for shift in self._images(X):
            part = streams(X + shift, centres, shape, x.indices)
            if x.tape is not None and (centres.requires_grad or shape.requires_grad):
                x.tape.append(GaussianRecord(X + shift, centres, shape, x.indices, part))
            total = part if total is None else total + part
        assert total is not None
        return Jet(total, x.indices, None, x.tape)

    def features_at(self, X: Tensor) -> Tensor:
        """G_i(x_n), images along periodic coordinates included, shape (N, M)."""
        value = IndexSet.closure([(0,) * self.dimension], self.dimension)
        if self.cutoff is not None:
            shape = self._wide()
            parts = [dense_streams(X + s, self.centres, shape, value, self.cutoff)[0] for s in self._images(X)]
        else:
            parts = [streams(X + shift, self.centres, self.shape(), value)[0] for shift in self._images(X)]
        return torch.stack(parts).sum(0)

    def _wide(self) -> Tensor:
        """`shape` with scales widened for the taper."""
        assert self.cutoff is not None
        factor, shape = widened(self.cutoff), self.shape()
        return shape + log(factor) if shape.ndim == 2 else factor**2 * shape

    def _points(self, x: Jet) -> Tensor:
        if x.points is None:
            raise ProblemError("model=gaussian reads coordinates as they are; it takes no features of them")
        return x.points

    def _images(self, X: Tensor) -> list[Any]:
        """What is added to points: −L, 0 and L along each periodic coordinate."""
        shifts: list[Tensor] = [X.new_zeros(self.dimension)]
        for column, period in self.periods.items():
            step = X.new_zeros(self.dimension)
            step[column] = period
            shifts = [s + k * step for s in shifts for k in (-1, 0, 1)]
        return shifts

    def jet(self, x: Jet) -> Jet:
        if self.cutoff is not None:
            return self._compact(x, self.cutoff)
        if x.tape is not None or torch._C._functorch.maybe_current_level() is not None:
            return linear(self.features(x), self.amplitudes)
        X, shape = self._points(x), self.shape()
        parts = [sums(X + shift, self.centres, shape, self.amplitudes, x.indices) for shift in self._images(X)]
        return Jet(torch.stack(parts).sum(0) if len(parts) > 1 else parts[0], x.indices)

    def _compact(self, x: Jet, cutoff: float) -> Jet:
        """The jet of Gaussians that end at a radius."""
        X, shape, images = self._points(x), self._wide(), tuple(self._images(self._points(x)))
        if torch._C._functorch.maybe_current_level() is not None:              # one point at a time, every Gaussian
            parts = [every(X + s, self.centres, shape, x.indices, cutoff) @ self.amplitudes.t() for s in images]
        else:
            parts = [compact_sums(X + s, self.centres, shape, self.amplitudes, x.indices, cutoff) for s in images]
        target = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        if x.tape is not None:
            x.tape.append(CompactRecord(X, self.centres, shape, self.amplitudes, x.indices, cutoff, target, images))
        return Jet(target, x.indices, None, x.tape)


def gaussians_of(field: nn.Module) -> GaussianField | None:
    """The Gaussians inside of a field with its constraints; None if it is made of something else."""
    inner: Any = field
    while not isinstance(inner, GaussianField):
        inner = getattr(inner, "network", None)
        if inner is None:
            return None
    return inner


def covariances(log_scales: Tensor, rotations: Tensor) -> Tensor:
    """Σ = R diag(s²) Rᵀ with R = exp(skew(ω)), shape (M, D, D).

    Args:
        log_scales: log s, shape (M, D).
        rotations: ω, shape (M, D (D − 1)/2): in two dimensions the angle, in three the axis times the angle.
    """
    M, D = log_scales.shape
    i, j = torch.triu_indices(D, D, 1, device=log_scales.device)
    skew = log_scales.new_zeros(M, D, D).index_put((torch.arange(M, device=i.device)[:, None], i, j), rotations)
    R = torch.linalg.matrix_exp(skew.mT - skew)
    return (R * torch.exp(2 * log_scales)[:, None, :]) @ R.mT


@torch.no_grad()
def of_covariances(centres: Tensor, sigma: Tensor, amplitudes: Tensor | None = None, train: str = "amplitudes",
                   overlap: float = 1.2, outputs: int = 1) -> GaussianField:
    """The field of given covariances, whose scales and rotations are found: Σ = R diag(s²) Rᵀ, R = exp(skew(ω)).

    Args:
        centres: μ, shape (M, D), D at most 3.
        sigma: Σ, shape (M, D, D), symmetric and positive definite.
        amplitudes: a, shape (C, M); None: zero.
        train, overlap, outputs: As in `GaussianField`; outputs where there are no amplitudes.

    Raises:
        ProblemError: Σ is not positive definite, or D is larger than three.
    """
    M, D = centres.shape
    if D > 3:
        raise ProblemError(f"rotations are found in up to three dimensions, and these Gaussians have {D}; use "
                           "diagonal covariances")
    squares, R = torch.linalg.eigh((sigma + sigma.mT) / 2)
    if not bool((squares > 0).all()):
        raise ProblemError("covariances of Gaussians must be positive definite; some are not")
    R = torch.cat([R[:, :, :1] * torch.linalg.det(R)[:, None, None], R[:, :, 1:]], dim=2)      # a proper rotation
    field = GaussianField(centres, squares.sqrt(), len(amplitudes) if amplitudes is not None else outputs,
                          "full" if D > 1 else "diagonal", train, dtype=centres.dtype, overlap=overlap)
    if amplitudes is not None:
        field.amplitudes.copy_(amplitudes)
    if field.rotations is not None:
        field.rotations.copy_(_rotations(R))
    return field


def _rotations(R: Tensor) -> Tensor:
    """ω with exp(skew(ω)) = R for proper rotations in two and three dimensions, shape (M, D (D − 1)/2).

    In three dimensions through the quaternion with the largest component first (Shepperd 1978,
    doi:10.2514/3.55767b), which is accurate for all angles.
    """
    if R.shape[1] == 2:
        return torch.atan2(R[:, 1, 0], R[:, 0, 0])[:, None]
    d = R.diagonal(dim1=1, dim2=2)
    squares = torch.stack([d.sum(1), *(2 * d - d.sum(1, keepdim=True)).unbind(1)], dim=1) + 1        # 4 q²
    skew = torch.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], dim=1)
    table = torch.zeros(len(R), 4, 4, dtype=R.dtype, device=R.device)                                # 4 q qᵀ
    table[:, 0, 1:] = table[:, 1:, 0] = skew
    for i in range(3):
        for j in range(3):
            table[:, i + 1, j + 1] = R[:, i, j] + R[:, j, i]
    table.diagonal(dim1=1, dim2=2).copy_(squares)
    q = table[torch.arange(len(R)), squares.argmax(1)]
    q = q / q.norm(dim=1, keepdim=True)
    q = torch.where(q[:, :1] < 0, -q, q)
    sine = q[:, 1:].norm(dim=1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[:, :1])
    axis = q[:, 1:] * torch.where(sine > 0, angle / sine, 2.0)                 # the axis times the angle
    return torch.stack([axis[:, 2], -axis[:, 1], axis[:, 0]], dim=1)           # in the order 01, 02, 12 of skew


def _check(centres: Tensor, scales: Tensor, covariance: str, train: str, cutoff: float | None) -> None:
    if cutoff is not None and not cutoff >= LEAST:
        raise ProblemError(f"model.cutoff={cutoff!r} must be a radius of at least {LEAST:g} scales, 4 to 6 as a rule, "
                           "or None")
    if covariance not in COVARIANCES:
        raise ProblemError(f"model.covariance={covariance!r} must be one of {', '.join(COVARIANCES)}")
    if train not in TRAINED:
        raise ProblemError(f"model.train={train!r} must be one of {', '.join(TRAINED)}")
    if centres.ndim != 2 or not len(centres):
        raise ProblemError(f"centres of Gaussians have shape {tuple(centres.shape)}, expected (M, D) with M ≥ 1")
    M, D = centres.shape
    if tuple(scales.shape) not in {(M,), (M, 1), (M, D)}:
        raise ProblemError(f"scales of Gaussians have shape {tuple(scales.shape)}, expected ({M},), ({M}, 1) or "
                           f"({M}, {D})")
    if not bool((scales > 0).all()) or not bool(torch.isfinite(centres).all() & torch.isfinite(scales).all()):
        raise ProblemError("centres and scales of Gaussians must be finite, and scales positive")


def tensor_centres(lines: Sequence[Tensor]) -> Tensor:
    """Centres of a tensor lattice from those along the coordinates, shape (M, D)."""
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, len(lines))
