"""Cosines and sines of truncated transforms as small real matrices, and what is made of them alone.

A transform to the first m modes of an axis of n points is one matrix product with everything to the right of the axis
as columns. Angles are reduced in whole numbers and computed in float64, and the matrix is cast last. Tables are kept
for the whole process by (what, sizes, device, dtype) outside every state dict, so that layers of one model share them,
any size is served at once, and a compiled graph is handed them. Call a model once before its first compiled pass, so
that the tables are there, and compile it with `dynamic=False`: sizes are in the tables, so a graph belongs to one of
them anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi

import torch
from torch import Tensor

from ..errors import ProblemError

LARGEST = 512
_kept: dict[tuple, Tensor] = {}


def largest(n: int) -> int:
    """Number m of modes k = 0…m−1 that n points carry below the Nyquist frequency: 2m − 1 ≤ n."""
    return (n + 1) // 2


def phases(n: int, m: int, both: bool) -> tuple[Tensor, Tensor]:
    """cos θ and sin θ, θ_kj = 2πkj/n, in float64.

    Args:
        n: Points j = 0…n−1.
        m: Modes k = 0…m−1; with `both` also −(m−1)…−1 behind them.

    Returns:
        Two tensors (K, n), K = m or 2m − 1.
    """
    k = torch.arange(m)
    if both:
        k = torch.cat([k, torch.arange(1 - m, 0)])
    theta = torch.remainder(torch.outer(k, torch.arange(n)), n).double() * (2 * pi / n)
    return theta.cos(), theta.sin()


def _analysis(n: int, m: int) -> Tensor:
    c, s = phases(n, m, both=False)
    return torch.cat([c, -s]) / n


def _analysis_both(n: int, m: int) -> Tensor:
    return torch.cat(phases(n, m, both=True)) / n


def _synthesis(n: int, m: int) -> Tensor:
    c, s = phases(n, m, both=False)
    twice = torch.full((m, 1), 2.0, dtype=c.dtype)
    twice[0] = 1
    return torch.cat([twice * c, -twice * s]).t()


def _synthesis_both(n: int, m: int) -> Tensor:
    return torch.cat(phases(n, m, both=True)).t()


def _resize(n: int, to: int) -> Tensor:
    m = min(largest(n), largest(to))
    matrix = _synthesis(to, m) @ _analysis(n, m)
    if n % 2 == 0 and to >= n:           # the Nyquist cosine stands once: shared points keep their values
        j, i = torch.arange(n), torch.arange(to)
        nyquist = torch.cos(torch.remainder(i * n, 2 * to).double() * (pi / to))
        matrix = matrix + torch.outer(nyquist, 1.0 - 2.0 * (j % 2).double()) / n
    return matrix


def _dct(n: int, m: int) -> Tensor:
    j, k = torch.arange(n), torch.arange(m)
    rows = torch.cos(torch.remainder(torch.outer(k, 2 * j + 1), 4 * n).double() * (pi / (2 * n))) * 2**0.5
    rows[0] = 1
    return rows


def _dct_nodes(n: int, m: int) -> Tensor:
    j, k = torch.arange(n), torch.arange(m)
    rows = torch.cos(torch.remainder(torch.outer(k, j), 2 * (n - 1)).double() * (pi / (n - 1))) * 2**0.5
    rows[0] = 1
    return rows


def _fourier(n: int, m: int) -> Tensor:
    c, s = phases(n, m // 2 + 1, both=False)
    rows = torch.stack([c, s], 1).flatten(0, 1) * 2**0.5
    return torch.cat([torch.ones(1, n, dtype=c.dtype), rows[2:]])[:m]


def _dct_weighted(n: int, m: int) -> Tensor:
    return _dct(n, m) / n


def _dct_nodes_weighted(n: int, m: int) -> Tensor:
    weights = torch.full((n,), 1 / (n - 1), dtype=torch.float64)
    weights[0] = weights[-1] = 0.5 / (n - 1)
    return _dct_nodes(n, m) * weights


def _fourier_weighted(n: int, m: int) -> Tensor:
    return _fourier(n, m) / n


def _turned(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)          # the last of an even number of Fourier rows is twice as long


def _fourier_turned(n: int, m: int) -> Tensor:
    return _turned(_fourier(n, m))


def _dct_turned(n: int, m: int) -> Tensor:
    return _turned(_dct(n, m))


MATRICES: dict[str, Callable[[int, int], Tensor]] = {
    "analysis": _analysis, "analysis-both": _analysis_both, "synthesis": _synthesis, "synthesis-both": _synthesis_both,
    "resize": _resize, "dct": _dct, "dct-weighted": _dct_weighted, "dct-nodes": _dct_nodes,
    "dct-nodes-weighted": _dct_nodes_weighted, "fourier": _fourier, "fourier-weighted": _fourier_weighted,
    "fourier-turned": _fourier_turned, "dct-turned": _dct_turned}


def table(what: str, n: int, m: int, like: Tensor) -> Tensor:
    """A matrix of `MATRICES` in the dtype and on the device of a tensor; made once.

    Args:
        what: Name of the matrix: "analysis" (2m, n) takes values to [re; im] of modes k = 0…m−1, "synthesis" (n, 2m)
            brings them back, "…-both" are [cos; sin] (2K, n) and [cos, sin] (n, 2K) of modes of both signs,
            "resize" is (m, n), "dct", "dct-nodes" and "fourier" are orthonormal functions (m, n) and "…-weighted" the
            same times the quadrature weights of their points; "…-turned" (m, m) are those rows at length one.
        n, m: Its sizes.
        like: Its dtype and device.
    """
    key = (what, n, m, like.dtype, like.device)
    found = _kept.get(key)
    if found is not None:
        return found
    with torch.inference_mode(False), torch.no_grad():
        made = MATRICES[what](n, m).to(device=like.device, dtype=like.dtype).contiguous()
    if type(made) is Tensor:                                  # not what stands for a tensor while a graph is traced
        if len(_kept) >= LARGEST:
            _kept.pop(next(iter(_kept)))
        _kept[key] = made
    return made


def along(matrix: Tensor, v: Tensor, axis: int) -> Tensor:
    """Matrix (m, n) times v along an axis of n points (negative axes count from the end); the others stay."""
    shape = list(v.shape)
    axis %= v.dim()
    left, right = 1, 1
    for size in shape[:axis]:
        left *= size
    for size in shape[axis + 1:]:
        right *= size
    shape[axis] = matrix.shape[0]
    return (matrix @ v.reshape(left, v.shape[axis], right)).reshape(shape)


def resize(v: Tensor, shape: Sequence[int]) -> Tensor:
    """A periodic field on another grid, by its Fourier series.

        ũ(x) = Σ_{|k| < min(n, ñ)/2} û_k e^{2πikx},     û_k = (1/n) Σ_j u_j e^{−2πijk/n}

    A finer grid has the values of the coarse one at the points they share; a coarser one gets no mode that it cannot
    carry, so nothing folds. The amplitude does not depend on the sizes.

    Args:
        v: (B, n_1, …, n_d, C) at the points i/n.
        shape: (ñ_1, …, ñ_d).

    Returns:
        (B, ñ_1, …, ñ_d, C).

    Raises:
        ProblemError: `shape` has not one number for each axis of the grid.
    """
    if len(shape) != v.dim() - 2:
        raise ProblemError(f"a field of shape {tuple(v.shape)} has {v.dim() - 2} axes between batch and channels, the "
                           f"new grid {tuple(shape)} has {len(shape)}; give one size for each axis")
    for axis, n in enumerate(shape, 1):                                # what shrinks first makes the rest cheaper
        if n < v.shape[axis]:
            v = along(table("resize", v.shape[axis], n, v), v, axis)
    for axis, n in enumerate(shape, 1):
        if n > v.shape[axis]:
            v = along(table("resize", v.shape[axis], n, v), v, axis)
    return v
