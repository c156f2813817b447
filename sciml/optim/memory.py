"""Memory that a method will take, held against what the device has, before anything is allocated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import ProblemError, TrainingError


def size_text(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where the system does not say."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    found = [n for n in (_available(), _left_in_group()) if n is not None]
    return min(found, default=None)


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


def _available() -> int | None:
    """What the kernel can hand out without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _left_in_group() -> int | None:
    """What a container's limit leaves (cgroup 2); pages of files can be given back, so they count as free."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
        statistics = dict(line.split() for line in (root / "memory.stat").read_text(encoding="ascii").splitlines())
        return None if limit == "max" else int(limit) - used + int(statistics.get("file", 0))
    except (OSError, ValueError):
        return None
