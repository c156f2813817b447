"""A stand-in for a second device: tensors on the CPU, of which some are marked, and a mark and none do not mix.

What follows a tensor's device (`x.new_zeros`, `device=x.device`, `.to(x)`) is marked if that is; what is made without a
word about devices is not. Operations on both, but for numbers of no dimension, fail as they would on a GPU. The device
of marked tensors is cpu:0, which torch takes for the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

THERE = torch.device("cpu", 0)
HOME = {"cpu", "numpy", "tolist", "item", "__bool__", "__int__", "__float__"}


def mark(value):
    """Tensors of a tensor, or of a structure, marked as being elsewhere."""
    for t in leaves(value):
        t.elsewhere = True
    return value


def leaves(value) -> list[Tensor]:
    """Tensors in nested sequences, named ones of torch too, and dicts."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for part in parts for t in leaves(part)]


def marked(t: Tensor) -> bool:
    """Whether a tensor is elsewhere."""
    return getattr(t, "elsewhere", False)


class Elsewhere(TorchFunctionMode):
    """Within it, marks are handed on and mixtures fail."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        tensors = leaves((args, kwargs))
        there = [marked(t) for t in tensors]
        if func == Tensor.device.__get__:
            return THERE if there[0] else func(*args, **kwargs)
        if name in ("__get__", "__set__"):
            return mark(func(*args, **kwargs)) if there[0] else func(*args, **kwargs)
        goal = next((a for a in (*args[1:], *kwargs.values()) if isinstance(a, (Tensor, torch.device))), None)
        if name in ("to", "type_as") and goal is not None:
            found = func(*args, **kwargs)
            found = found.view_as(found) if found is args[0] else found
            return mark(found) if goal == THERE or isinstance(goal, Tensor) and marked(goal) else found
        if name in HOME:
            found = func(*args, **kwargs)
            return found.view_as(found) if isinstance(found, Tensor) else found
        index = name == "__getitem__" and marked(args[0])            # a GPU's tensor takes indices of the CPU
        moves = kwargs.get("device") == THERE                        # as_tensor(x, device=…), arange(n, device=…)
        if not index and not moves and any(there) and any(not m and t.ndim for m, t in zip(there, tensors,
                                                                                          strict=True)):
            raise AssertionError(f"{name} of tensors here and elsewhere: "
                                 f"{[(tuple(t.shape), m) for t, m in zip(tensors, there, strict=True)]}")
        found = func(*args, **kwargs)
        return mark(found) if any(there) or moves else found
