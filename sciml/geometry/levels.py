"""Smooth functions that vanish on a boundary: R-functions, made of elementwise operations.

A *level* φ of a piece is zero on the piece, positive inside the domain, and has |∇φ| = 1 on the
piece (an approximate distance function normalised to first order). The formulas below combine
levels and use only Python operators and `torch.sqrt`, so the values may be tensors or symbolic
quantities with `__torch_function__`.

Source: Rvachev and Sheiko (1995), doi:10.1115/1.3005099; Sukumar and Srivastava (2022),
doi:10.1016/j.cma.2021.114333. Deviation: a tiny constant keeps derivatives finite at corners,
and `trim` is ours; theirs takes the root of a square, which has no derivative on the piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch

# Relative to the size of the domain. At a corner two levels vanish together: 0/0 in
# `equivalence`, and √0 (whose derivative is infinite) in the other two. 1e−12 keeps the third
# power of the denominator inside float32.
CORNER = 1e-12
ROOT = 1e-30


def equivalence(levels: Sequence, scale: float):
    """Level of a union of pieces, zero on each of them.

        1/φ = Σᵢ 1/φᵢ,   computed pairwise as φ₁ φ₂ / (φ₁ + φ₂), which has no 0/0 on a piece

    The pairwise form equals Πφᵢ / Σᵢ Π_{j≠i} φⱼ, and does not underflow for many pieces.

    Args:
        levels: The φᵢ of the pieces.
        scale: Size of the domain, the unit of the corner's constant.
    """
    return reduce(lambda a, b: a * b / (a + b + CORNER * scale), levels)


def conjunction(levels: Sequence, scale: float):
    """Positive where every level is: φ₁ + φ₂ − √(φ₁² + φ₂²)."""
    return reduce(lambda a, b: a + b - torch.sqrt(a * a + b * b + ROOT * scale**2), levels)


def disjunction(levels: Sequence, scale: float):
    """Positive where any level is: φ₁ + φ₂ + √(φ₁² + φ₂²)."""
    return reduce(lambda a, b: a + b + torch.sqrt(a * a + b * b + ROOT * scale**2), levels)


def trim(f, tau, scale: float):
    """Level of the part τ > 0 of the surface f = 0: positive wherever f > 0 or τ < 0.

        φ = f ∨ (−τ) = f − τ + √(f² + τ²)

    On the kept part φ = 0 and ∇φ = ∇f. The other zeros of φ lie on τ = 0, f < 0, so τ has to be
    chosen such that this set is outside the domain.
    """
    return disjunction([f, -tau], scale)
