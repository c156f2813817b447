"""Memory that a method will take, held against what the device has, before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..errors import ProblemError, TrainingError
from ..memory import free_memory, size_text

ENTRY = 100              # bytes to an entry of a sparse Jacobian: values, columns and rows, joined, sorted and scaled


def demand_memory(method: str, size: int, device: torch.device, instead: Mapping[str, int]) -> None:
    """Raises where a method's memory is not to be had.

    Args:
        method: Its name.
        size: Bytes that it takes.
        device: Where.
        instead: Bytes of other methods by name, the best first; the first that fits is named.

    Raises:
        ProblemError: What it needs, what there is, and which method fits.
    """
    free = free_memory(device)
    if free is None or size <= free:
        return
    name = next((n for n, s in instead.items() if s <= free), "")
    hint = f"optimizer={name} needs {size_text(instead[name])}" if name else "use a smaller field"
    raise ProblemError(f"{method} needs {size_text(size)} for its matrices, and {device} has {size_text(free)} free; "
                       f"{hint}")


def matrix_bytes(R: int, P: int, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of J, shape (R, P), and of the smaller of its two Gram matrices with a factor of it."""
    return R * P * dtype.itemsize, 2 * min(R, P) ** 2 * dtype.itemsize


def demand_jacobian(R: int, P: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raises if a Jacobian and its Gram matrix do not fit into the memory that is left.

    Args:
        R, P: Residuals and parameters.

    Raises:
        TrainingError: It does not fit; says what does.
    """
    jacobian, gram = matrix_bytes(R, P, dtype)
    have = free_memory(device)
    if have is None or jacobian + gram <= have:
        return
    kernel = matrix_bytes(R, R, dtype)[1]
    fits = "gauss-newton-cg" if P <= R or kernel > have // 2 else "gauss-newton-cg or spring"
    raise TrainingError(
        f"the Jacobian of {R:,} residuals and {P:,} parameters needs {jacobian / 2**30:.1f} GiB and its Gram matrix "
        f"{gram / 2**30:.1f} GiB, and {have / 2**30:.1f} GiB are left on {device}; use optimizer={fits}, which keeps "
        "the Jacobian by its factors, or lbfgs, fewer points, or a smaller field")


def demand_entries(entries: int) -> None:
    """Raises if a sparse Jacobian, and what it is put together from, does not fit into the memory that is left.

    Args:
        entries: Of the Jacobian.

    Raises:
        TrainingError: It does not fit.
    """
    need, have = ENTRY * entries, free_memory(torch.device("cpu"))
    if have is not None and need > have:
        raise TrainingError(f"a Jacobian of {entries:,} entries needs {size_text(need)} while it is put together, and "
                            f"{size_text(have)} are free; take fewer points or Gaussians, or a smaller model.cutoff")


def demand_gram(R: int, P: int, kernel: bool, dtype: torch.dtype, device: torch.device) -> None:
    """Raises if a Gram matrix with a factor of it, and J where it is formed, do not fit into the memory that is left.

    Args:
        R, P: Residuals and parameters.
        kernel: Whether it is J Jᵀ, shape (R, R), from the factors of J, and not JᵀJ.

    Raises:
        TrainingError: It does not fit; says what does.
    """
    n = R if kernel else P
    need = (2 * n**2 + (0 if kernel else R * P)) * dtype.itemsize
    have = free_memory(device)
    if have is not None and need > have:
        raise TrainingError(
            f"the matrix of {n:,} × {n:,} {'residuals' if kernel else 'parameters'} needs {need / 2**30:.1f} GiB with "
            f"its factor, and {have / 2**30:.1f} GiB are left on {device}; use optimizer=gauss-newton-cg, which takes "
            f"none, or fewer {'points' if kernel else 'parameters'}")
