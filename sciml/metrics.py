"""Errors against a reference, and the score of the best constant beside them.

    relative L2 = ‖u − u_ref‖ / ‖u_ref‖,       null score = ‖c − u_ref‖ / ‖u_ref‖ with the best constant c

over the reference's points, with their weights if there are any (nodes of a mesh stand for different volumes). The
norm in the denominator is always the reference's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def relative_l2(prediction: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None) -> float:
    """‖u − u_ref‖ / ‖u_ref‖; points where the reference is NaN (outside the domain) are left out.

    Note:
        If the reference is identically zero the absolute root mean square is returned.
    """
    inside = np.isfinite(reference)
    root = np.sqrt(_shares(inside, weights))
    difference = root * (prediction[inside] - reference[inside])
    size = float(np.linalg.norm(root * reference[inside]))
    return float(np.linalg.norm(difference)) / (size or 1.0)


def mean_absolute(prediction: np.ndarray, reference: np.ndarray, weights: np.ndarray | None = None) -> float:
    """mean |u − u_ref|, in the units of u; points where the reference is NaN (outside the domain) are left out."""
    inside = np.isfinite(reference)
    return float((_shares(inside, weights) * np.abs(prediction[inside] - reference[inside])).sum())


def null_score(reference: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Relative L2 error of the best constant: what a method that learnt nothing can score."""
    inside = np.isfinite(reference)
    shares = _shares(inside, weights)
    mean = float((shares * reference[inside]).sum())
    return relative_l2(np.full_like(reference, mean), reference, weights)


def errors(prediction: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray],
           weights: np.ndarray | None = None) -> dict[str, float]:
    """Relative L2 by unknown, for the unknowns that have a reference."""
    return {name: relative_l2(prediction[name], reference[name], weights) for name in reference if name in prediction}


def _shares(inside: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weights of the points that count, of sum one."""
    found = np.ones(int(inside.sum())) if weights is None else weights[inside]
    return found / max(float(found.sum()), 1e-300)


def overall(by_unknown: Mapping[str, float]) -> float:
    """Mean of the relative errors of the unknowns."""
    return float(np.mean(list(by_unknown.values()))) if by_unknown else float("nan")
