"""Errors against a reference, and the score of the best constant beside them.

    relative L2 = ‖u − u_ref‖ / ‖u_ref‖,       null score = ‖c − u_ref‖ / ‖u_ref‖ with the best constant c

over the reference's points. The norm in the denominator is always the reference's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def relative_l2(prediction: np.ndarray, reference: np.ndarray) -> float:
    """‖u − u_ref‖ / ‖u_ref‖; points where the reference is NaN (outside the domain) are left out.

    Note:
        If the reference is identically zero the absolute root mean square is returned.
    """
    inside = np.isfinite(reference)
    difference = prediction[inside] - reference[inside]
    size = float(np.linalg.norm(reference[inside]))
    if size == 0.0:
        return float(np.linalg.norm(difference) / np.sqrt(max(inside.sum(), 1)))
    return float(np.linalg.norm(difference) / size)


def mean_absolute(prediction: np.ndarray, reference: np.ndarray) -> float:
    """mean |u − u_ref|, in the units of u; points where the reference is NaN (outside the domain) are left out."""
    inside = np.isfinite(reference)
    return float(np.abs(prediction[inside] - reference[inside]).mean())


def null_score(reference: np.ndarray) -> float:
    """Relative L2 error of the best constant: what a method that learnt nothing can score."""
    inside = reference[np.isfinite(reference)]
    return relative_l2(np.full_like(inside, inside.mean()), inside)


def errors(prediction: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative L2 by unknown, for the unknowns that have a reference."""
    return {name: relative_l2(prediction[name], reference[name]) for name in reference if name in prediction}


def overall(by_unknown: Mapping[str, float]) -> float:
    """Mean of the relative errors of the unknowns."""
    return float(np.mean(list(by_unknown.values()))) if by_unknown else float("nan")
