"""Programs: an equation as a flat list of tensor operations.

The graph that an equation left behind is sorted, common subexpressions are merged, and constants are folded in. What
remains is replayed at every step with plain tensors of shape (N,): no quantity, no Python function of the user, and
nothing that stops `torch.compile`, `vmap` or automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .collapse import Slot, collapse
from .elementwise import evaluate
from .quantity import Apply, Leaf, Quantity

LeafKey = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class _Constant:
    """Reference to a tensor that an equation captured."""

    index: int


class Program:
    """Outputs as functions of leaf values.

    Tensors that an equation captured (tables, measured coefficients) are copied once to each device and dtype that the
    program runs on, not at every step; a program keeps at most one copy for each.

    Args:
        outputs: Quantities or plain numbers by name.

    Attributes:
        names: Output names, in order.
        leaves: Keys (kind, name, α) of the inputs.
    """

    def __init__(self, outputs: Mapping[Any, object]):      # names may be tuples too
        self.names = tuple(outputs)
        self._slots: dict = {}
        self._steps: list[tuple] = []
        self._inputs: list[LeafKey] = []
        self._known: dict[int, Slot] = {}
        self._alive: list = []
        self._tensors: list[Tensor] = []
        self._copies: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}
        self._thin: Program | None = None
        references = [self._place(value) for value in outputs.values()]
        self._results = tuple(references)
        self.leaves = tuple(self._inputs)
        del self._slots, self._known, self._alive

    def collapsed(self) -> Program:
        """The same program with operators in place of derivatives that only they need; itself if nothing is gained."""
        if self._thin is None:
            found = collapse(self._steps, self._results)
            self._thin = self
            if found is not None:
                self._thin = other = copy(self)
                other._steps, other._results = found
                other.leaves = tuple(step[1] for step in other._steps if step[0] == "leaf")
                other._thin = other
        return self._thin

    @property
    def requests(self) -> dict[str, set[tuple[int, ...]]]:
        """Derivatives asked of each unknown."""
        wanted: dict[str, set] = {}
        for kind, name, alpha in self.leaves:
            if kind == "unknown":
                wanted.setdefault(name, set()).add(alpha)
        return wanted

    def uses(self, kind: str) -> tuple[str, ...]:
        """Names of the leaves of a kind, e.g. "parameter"."""
        return tuple(name for k, name, _ in self.leaves if k == kind)

    @property
    def functions(self) -> tuple:
        """What it calls, in order."""
        return tuple(step[1] for step in self._steps if step[0] == "call")

    def _place(self, value):
        """Slot of a quantity, or the constant itself; an explicit stack, since graphs can be deep."""
        if not isinstance(value, Quantity):
            return self._constant(value)
        stack = [value]
        while stack:
            node = stack[-1]
            if id(node) in self._known:
                stack.pop()
                continue
            missing = [] if isinstance(node, Leaf) else [
                a for a in (*node.args, *node.kwargs.values())
                if isinstance(a, Quantity) and id(a) not in self._known]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            assert isinstance(node, (Leaf, Apply))
            self._known[id(node)] = self._leaf(node) if isinstance(node, Leaf) else self._operation(node)
            self._alive.append(node)
        return self._known[id(value)]

    def _leaf(self, node: Leaf) -> Slot:
        if ("leaf", node.key) not in self._slots:
            self._inputs.append(node.key)
            self._steps.append(("leaf", node.key))
            self._slots["leaf", node.key] = Slot(len(self._steps) - 1)
        return self._slots["leaf", node.key]

    def _constant(self, value):
        """A tensor's place among the constants; anything else is what it is."""
        if not isinstance(value, Tensor):
            return value
        found = [i for i, tensor in enumerate(self._tensors) if tensor is value]
        if not found:
            self._tensors.append(value)
        return _Constant(found[0] if found else len(self._tensors) - 1)

    def _operation(self, node: Apply) -> Slot:
        refer = lambda a: self._known[id(a)] if isinstance(a, Quantity) else self._constant(a)
        args = tuple(refer(a) for a in node.args)
        kwargs = {k: refer(a) for k, a in node.kwargs.items()}
        identity = lambda a: a if isinstance(a, (Slot, _Constant, int, float, bool, str, type(None))) else id(a)
        key = (node.function, tuple((type(a), identity(a)) for a in args),
               tuple((k, type(a), identity(a)) for k, a in kwargs.items()))
        if key not in self._slots:
            self._steps.append(("call", node.function, args, kwargs))
            self._slots[key] = Slot(len(self._steps) - 1)
        return self._slots[key]

    def constants(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The captured tensors on a device, those of floating point in a dtype; copied the first time only.

        While torch.compile traces, or under `vmap`, `jvp` and inference mode, a copy belongs to what is going on there
        and is not kept; nor are copies of tensors that are trained.
        """
        key = (device, dtype)
        if key in self._copies:
            return self._copies[key]
        copies = tuple(a.to(device, dtype if a.is_floating_point() else a.dtype) for a in self._tensors)
        if not (torch.compiler.is_compiling() or torch.is_inference_mode_enabled() or transformed()
                or any(a.requires_grad for a in self._tensors)):
            self._copies[key] = copies
        return copies

    def known(self, leaves: Mapping[LeafKey, Tensor], like: Tensor) -> dict[int, Any]:
        """What follows from some of the leaves alone, for calls in which those stand still.

        Args:
            leaves: Some of them.
            like: As in a call.
        """
        constant: set[int] = set()
        for i, step in enumerate(self._steps):
            if step[0] == "leaf":
                fits = step[1] in leaves
            else:
                fits = all(a.index in constant for a in (*step[2], *step[3].values()) if isinstance(a, Slot))
            if fits:
                constant.add(i)
        values = self._replay(leaves, like, {i: None for i in range(len(self._steps)) if i not in constant})
        return {i: values[i] for i in constant}

    def __call__(self, leaves: Mapping[LeafKey, Tensor], like: Tensor) -> list[Tensor]:
        """Values of the outputs, each of the shape of `like`.

        Args:
            leaves: Values by key, each of shape (N,) or ().
            like: Tensor of shape (N,) that gives shape, dtype and device.
        """
        return self.after({}, leaves, like)

    def after(self, known: Mapping[int, Any], leaves: Mapping[LeafKey, Tensor], like: Tensor) -> list[Tensor]:
        """Values as in a call, with what `known` returned for some of the leaves.

        Args:
            known: Values of steps by number.
            leaves, like: As in a call; leaves that broadcast to the shape of `like` are fine too.
        """
        values = self._replay(leaves, like, known)
        constants = self.constants(like.device, like.dtype) if self._tensors else ()
        results = []
        for reference in self._results:
            value = values[reference.index] if isinstance(reference, Slot) else \
                constants[reference.index] if isinstance(reference, _Constant) else reference
            if not isinstance(value, Tensor):
                value = torch.full_like(like, float(value))
            elif value.dtype != like.dtype:
                value = value.to(like.dtype)
            results.append(value.expand(like.shape) if value.ndim == 0 else value)
        return results

    def _replay(self, leaves: Mapping[LeafKey, Tensor], like: Tensor, known: Mapping[int, Any]) -> list:
        """Values of all steps, those that are known taken as they are."""
        values: list = []
        constants = self.constants(like.device, like.dtype) if self._tensors else ()

        def resolve(a):
            if isinstance(a, Slot):
                return values[a.index]
            return constants[a.index] if isinstance(a, _Constant) else a

        for i, step in enumerate(self._steps):
            if i in known:
                values.append(known[i])
            elif step[0] == "leaf":
                values.append(leaves[step[1]])
            else:
                _, function, args, kwargs = step
                options = {k: resolve(a) for k, a in kwargs.items()}
                values.append(evaluate(function, [resolve(a) for a in args], options, like))
        return values


def transformed() -> bool:
    """Whether a transform of torch.func is being traced, whose tensors must not outlive it."""
    return torch._C._functorch.maybe_current_level() is not None
