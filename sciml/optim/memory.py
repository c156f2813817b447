"""What a method with a matrix of residuals by parameters needs, before it is taken."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..errors import TrainingError


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where the system does not say."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    table = Path("/proc/meminfo")
    if table.is_file():                                  # with what the system would give back from its caches
        for line in table.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def matrix_bytes(R: int, P: int, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of J, shape (R, P), and of the smaller of its two Gram matrices with a factor of it."""
    return R * P * dtype.itemsize, 2 * min(R, P) ** 2 * dtype.itemsize


def demand_memory(R: int, P: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raises if a Jacobian and its Gram matrix do not fit into the memory that is left.

    Args:
        R, P: Residuals and parameters.

    Raises:
        TrainingError: It does not fit; says what does.
    """
    jacobian, gram = matrix_bytes(R, P, dtype)
    have = available_memory(device)
    if have is None or jacobian + gram <= have:
        return
    kernel = matrix_bytes(R, R, dtype)[1]
    fits = "gauss-newton-cg" if P <= R or kernel > have // 2 else "gauss-newton-cg or spring"
    raise TrainingError(
        f"the Jacobian of {R:,} residuals and {P:,} parameters needs {jacobian / 2**30:.1f} GiB and its Gram matrix "
        f"{gram / 2**30:.1f} GiB, and {have / 2**30:.1f} GiB are left on {device}; use optimizer={fits}, which keeps "
        "the Jacobian by its factors, or lbfgs, fewer points, or a smaller field")


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
    have = available_memory(device)
    if have is not None and need > have:
        raise TrainingError(
            f"the matrix of {n:,} × {n:,} {'residuals' if kernel else 'parameters'} needs {need / 2**30:.1f} GiB with "
            f"its factor, and {have / 2**30:.1f} GiB are left on {device}; use optimizer=gauss-newton-cg, which takes "
            f"none, or fewer {'points' if kernel else 'parameters'}")
