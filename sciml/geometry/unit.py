"""Rules that place n points in the unit cube [0, 1)ᵈ.

Every shape is the image of a unit cube under a measure-preserving map (see `patch`), so a rule
written once here serves them all. Random numbers come from the generator that is handed in;
torch's global generator is never touched.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from ..errors import ProblemError, look_up


def unit_points(
    n: int, d: int, rule: str, generator: torch.Generator, *, dtype=torch.float64, device="cpu"
) -> Tensor:
    """n points in the unit cube [0, 1)ᵈ.

    Args:
        n: Number of points, N ≥ 1.
        d: Dimension of the cube; 0 gives points without coordinates.
        rule: ``"uniform"``, ``"sobol"``, ``"halton"``, ``"hammersley"``, ``"lhs"`` or ``"grid"``.
        generator: Source of every random number.
        dtype: Floating type of the result.
        device: Where the result lives.

    Returns:
        Tensor of shape (N, d).

    Raises:
        ProblemError: The rule does not exist, or n < 1.
    """
    make = look_up("sampling rule", rule, RULES)
    if n < 1:
        raise ProblemError(f"cannot place {n} points; ask for at least 1")
    if d == 0:
        return torch.zeros(n, 0, dtype=dtype, device=device)
    U = make(n, d, generator, dtype).to(device=device, dtype=dtype)
    # Rounding to float32 may turn 1 − 1e−9 into 1, which lies outside the half-open cube.
    return U.clamp(max=1 - torch.finfo(dtype).eps)


def uniform(n: int, d: int, generator: torch.Generator, dtype) -> Tensor:
    """Independent uniform points."""
    return torch.rand(n, d, generator=generator, dtype=dtype, device=generator.device)


def sobol(n: int, d: int, generator: torch.Generator, dtype) -> Tensor:
    """Scrambled Sobol points; the scramble's seed is drawn from the generator.

    Source: Sobol (1967), with Owen's (1998) scrambling as in `torch.quasirandom.SobolEngine`.
    """
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
    return SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)


def halton(n: int, d: int, generator: torch.Generator, dtype) -> Tensor:
    """Halton points, shifted modulo 1 by one random vector.

        uᵢₖ = (radical inverse of i in the k-th prime base + sₖ) mod 1

    Source: Halton (1960); the shift is Cranley and Patterson's (1976).
    """
    shift = torch.rand(d, generator=generator, dtype=torch.float64, device=generator.device)
    columns = [_radical_inverse(n, base, generator.device) for base in _primes(d)]
    return (torch.stack(columns, 1) + shift) % 1.0


def hammersley(n: int, d: int, generator: torch.Generator, dtype) -> Tensor:
    """Hammersley's set, shifted modulo 1 by one random vector.

        uᵢ = ((i + ½) / n, radical inverses of i + 1 in the first d − 1 primes) + s mod 1,    i = 0 … n − 1

    It belongs to its n: a part of it covers a part of the cube only. In one dimension it is a grid.

    Source: Hammersley (1960), doi:10.1111/j.1749-6632.1960.tb42846.x; the shift is Cranley and Patterson's (1976).
    """
    shift = torch.rand(d, generator=generator, dtype=torch.float64, device=generator.device)
    steps = (torch.arange(n, dtype=torch.float64, device=generator.device) + 0.5) / n
    columns = [_radical_inverse(n, base, generator.device) for base in _primes(d - 1)]
    return (torch.stack([steps, *columns], 1) + shift) % 1.0


def latin_hypercube(n: int, d: int, generator: torch.Generator, dtype) -> Tensor:
    """One random point in each of n slices of every axis.

    Source: McKay, Beckman and Conover (1979), doi:10.1080/00401706.1979.10489755.
    """
    device = generator.device
    slices = torch.stack([torch.randperm(n, generator=generator, device=device) for _ in range(d)], 1)
    return (slices + torch.rand(n, d, generator=generator, dtype=torch.float64, device=device)) / n


def grid(n: int, d: int, generator: torch.Generator, dtype) -> Tensor:
    """The largest tensor grid of kᵈ ≤ n cell midpoints, filled up to n with Sobol points.

    It is deterministic when n is a perfect d-th power.
    """
    U = grid_points(n, d).to(generator.device)
    missing = n - U.shape[0]
    return torch.cat([U, sobol(missing, d, generator, dtype).to(U)]) if missing else U


RULES = {
    "uniform": uniform,
    "sobol": sobol,
    "halton": halton,
    "hammersley": hammersley,
    "lhs": latin_hypercube,
    "grid": grid,
}
WHOLE = frozenset({"hammersley", "lhs"})
"""Rules whose points belong together: the first half of n is not a set of n / 2."""


def grid_points(n: int, d: int) -> Tensor:
    """Midpoints of kᵈ ≤ n equal cells of the unit cube, k as large as possible: (kᵈ, d)."""
    if d == 0:
        return torch.zeros(min(n, 1), 0, dtype=torch.float64)
    k = per_axis(n, d)
    axis = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    return torch.cartesian_prod(*[axis] * d).reshape(-1, d)


def per_axis(n: int, d: int) -> int:
    """The largest k with kᵈ ≤ n, at least 1."""
    k = max(1, round(n ** (1 / max(d, 1))))
    return max(1, k - (k**d > n))  # the root is rounded: step back when it overshot


def gauss(k: int) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre nodes and weights on (0, 1), each of shape (k,); the weights sum to 1."""
    x, w = np.polynomial.legendre.leggauss(k)
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2)


def gauss_points(n: int, d: int) -> tuple[Tensor, Tensor]:
    """Tensor product of Gauss rules in the unit cube with kᵈ ≤ n nodes, k as large as possible.

    Returns:
        Nodes, shape (kᵈ, d), and weights, shape (kᵈ,), which sum to 1. No dimension: one node.
    """
    if d == 0:
        return torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    u, w = gauss(per_axis(n, d))
    nodes = torch.cartesian_prod(*[u] * d).reshape(-1, d)
    return nodes, torch.cartesian_prod(*[w] * d).reshape(nodes.shape).prod(1)


def fixed_points(n: int, d: int) -> Tensor:
    """n scrambled Sobol points, shape (n, d), the same in every run: for measures and checks.

    Scrambled, because plain Sobol points line up with boxes and symmetric shapes: the area of a
    square minus a crescent came out four times worse.
    """
    if d == 0:
        return torch.zeros(1, 0, dtype=torch.float64)
    return SobolEngine(d, scramble=True, seed=0).draw(n, dtype=torch.float64)


def _radical_inverse(n: int, base: int, device) -> Tensor:
    """Digits of 1 … n in `base`, mirrored at the point, shape (n,).

    Numbers with one digit more are those without it, once for each digit: φ(j M + i) = φ(i) + j / (M b) for i < M = bᵏ.
    """
    value = torch.zeros(1, dtype=torch.float64, device=device)
    while len(value) <= n:
        M = len(value)
        digits = torch.arange(min(base, n // M + 1), dtype=torch.float64, device=device)
        value = (digits[:, None] / (M * base) + value).reshape(-1)
    return value[1 : n + 1]


def _primes(d: int) -> list[int]:
    """The first d primes."""
    found: list[int] = []
    candidate = 2
    while len(found) < d:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found
