"""Memory that a device has left, for methods that ask before they take much of it."""

from __future__ import annotations

import os
from pathlib import Path

import torch


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
