"""Jets: a batch of values together with a closed set of their derivatives, pushed forward in one pass.

A `Jet` of a field with W channels at N points holds the streams ∂^α h, α ∈ A, as one tensor (S, N, W). A linear layer
is one matrix product for all streams; an activation is Faà di Bruno's sum. Fields are written once in terms of
the operations below; with A = {0} they are an ordinary forward pass.

The backward pass of an activation is written by hand. With g_α the incoming adjoints,

    ∂σ(h)_α / ∂h_β = C(α, β) [σ′(h)]_{α−β}      ⇒      h̄_β = Σ_{α ≥ β} C(α, β) g_α [σ′(h)]_{α−β},

so only h is kept from the forward pass, and the jet of σ′ is recomputed.

A jet may carry a *tape*: then every operation with parameters records its inputs and outputs, from which the
Jacobian of pointwise residuals is read off (`jacobian.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .activations import Activation
from .indices import IndexSet, Stream, parts
from .tape import LinearRecord, ScaleRecord


class Jet:
    """Streams ∂^α h of W channels at N points.

    Args:
        data: The streams that may be nonzero, shape (S′, N, W), in the order of `present`.
        indices: The closed set A of multi-indices.
        present: Rows of A that `data` holds; the others are zero. None: all of them.
        tape: List that collects records of operations with parameters; None: nothing is recorded.

    Attributes:
        points: Of a jet of coordinates, the tensor it was made of; None after any operation.
    """

    __slots__ = ("data", "indices", "points", "present", "tape")

    def __init__(self, data: Tensor, indices: IndexSet, present: tuple[int, ...] | None = None,
                 tape: list | None = None):
        self.data = data
        self.indices = indices
        self.present = tuple(range(len(indices))) if present is None else present
        self.tape = tape
        self.points: Tensor | None = None

    @staticmethod
    def of_coordinates(X: Tensor, indices: IndexSet, tape: list | None = None) -> Jet:
        """Jet of the coordinates themselves, from X of shape (N, D): values and unit first derivatives."""
        N, D = X.shape
        one = torch.eye(D, dtype=X.dtype, device=X.device)
        streams, present = [X], [0]
        for row, stream in enumerate(indices.indices):
            firsts = [(alpha.index(1), c) for alpha, c in parts(stream) if sum(alpha) == 1]
            if firsts:
                present.append(row)
                slopes = torch.stack([one[d] if c == 1 else c * one[d] for d, c in firsts])
                streams.append((slopes[0] if len(firsts) == 1 else slopes.sum(0)).expand(N, D))
        jet = Jet(torch.stack(streams), indices, tuple(present), tape)
        jet.points = X
        return jet

    def with_data(self, data: Tensor) -> Jet:
        """A jet with the same streams present and other numbers."""
        return Jet(data, self.indices, self.present, self.tape)

    def dense(self) -> Jet:
        """The same jet with all streams of the set stored."""
        if len(self.present) == len(self.indices):
            return self
        zero = torch.zeros_like(self.data[0])
        slot = {row: i for i, row in enumerate(self.present)}
        streams = [self.data[slot[row]] if row in slot else zero for row in range(len(self.indices))]
        return Jet(torch.stack(streams), self.indices, None, self.tape)

    @property
    def value(self) -> Tensor:
        """The values h, shape (N, W)."""
        return self.data[0]

    def stream(self, alpha: Stream) -> Tensor:
        """∂^α h, or L h, shape (N, W)."""
        row = self.indices.position(alpha)
        if row not in self.present:
            return torch.zeros_like(self.data[0])
        return self.data[self.present.index(row)]


def linear(h: Jet, weight: Tensor, bias: Tensor | None = None, gain: Tensor | None = None) -> Jet:
    """h (g ⊙ W)ᵀ + b: one matrix product for all streams; the bias enters the value only.

    Args:
        weight: Shape (W_out, W_in).
        bias: Shape (W_out,).
        gain: g, a factor for each row of W, shape (W_out,); None: 1.
    """
    data, factor = h.data, weight
    weight = factor if gain is None else gain[:, None] * factor
    S, N, W = data.shape
    if bias is None:
        target = torch.mm(data.reshape(S * N, W), weight.t()).reshape(S, N, -1)
    elif S == 1:
        target = torch.addmm(bias, data[0], weight.t()).unsqueeze(0)
    else:
        target = torch.mm(data.reshape(S * N, W), weight.t()).reshape(S, N, -1)
        shift = torch.zeros(S, 1, 1, dtype=data.dtype, device=data.device)
        shift[0].fill_(1)
        target = torch.addcmul(target, shift, bias)
    if h.tape is not None:
        h.tape.append(LinearRecord(factor, bias, data, target, gain))
    return h.with_data(target)


def scale(h: Jet, factor: Tensor) -> Jet:
    """a ⊙ h for a trainable a of shape () or (W,)."""
    target = h.data * factor
    if h.tape is not None:
        h.tape.append(ScaleRecord(factor, h.data, target))
    return h.with_data(target)


def multiply(f: Jet, g: Jet) -> Jet:
    """The product f g, by Leibniz' rule."""
    f, g = f.dense(), g.dense()
    streams = []
    for terms in f.indices.leibniz():
        total: Tensor | None = None
        for count, i, j in terms:
            term = f.data[i] * g.data[j]
            term = term if count == 1 else count * term
            total = term if total is None else total + term
        assert total is not None              # every ∂^α (f g) has terms
        streams.append(total)
    return Jet(torch.stack(streams), f.indices, None, f.tape)


def add(f: Jet, g: Jet) -> Jet:
    """The sum f + g."""
    if f.present != g.present:
        f, g = f.dense(), g.dense()
    return f.with_data(f.data + g.data)


def subtract(f: Jet, g: Jet) -> Jet:
    """The difference f − g."""
    if f.present != g.present:
        f, g = f.dense(), g.dense()
    return f.with_data(f.data - g.data)


def join(parts: list[Jet]) -> Jet:
    """Channels of several jets side by side."""
    if len({p.present for p in parts}) > 1:
        parts = [p.dense() for p in parts]
    return parts[0].with_data(torch.cat([p.data for p in parts], dim=-1))


def channels(h: Jet, index: Tensor) -> Jet:
    """Some channels of a jet, by their positions, on its device."""
    return h.with_data(h.data.index_select(-1, index))


def activate(h: Jet, activation: Activation) -> Jet:
    """σ(h) with all streams of the set."""
    if len(h.indices) == 1:                       # values only: torch's own derivative is the cheaper one
        return h.with_data(activation.derivatives(h.data[0], 0)[0].unsqueeze(0))
    if torch.compiler.is_compiling():
        data = compose(h.data, activation, h.indices, h.present, 0)
    else:
        data = _Compose.apply(h.data, activation, h.indices, h.present, 0)
    return Jet(data, h.indices, None, h.tape)


def compose(data: Tensor, activation: Activation, indices: IndexSet, present: tuple[int, ...],
            shift: int) -> Tensor:
    """Streams of σ^{(shift)}(h) by Faà di Bruno's sum, shape (S, N, W)."""
    order = indices.order + shift
    sigma = activation.derivatives(data[0], order)[shift:]
    streams = []
    for terms in indices.faa_di_bruno(present):
        total: Tensor | None = None
        for k, sums in terms:
            part: Tensor | None = None
            for count, factors in sums:
                term = None
                for i in factors:
                    term = data[i] if term is None else term * data[i]
                if term is not None:                  # None: the value itself, σ(h)
                    term = term if count == 1 else count * term
                    part = term if part is None else part + term
            value = sigma[k] if part is None else sigma[k] * part
            total = value if total is None else total + value
        streams.append(torch.zeros_like(data[0]) if total is None else total)
    return torch.stack(streams)


class _Compose(torch.autograd.Function):
    """σ^{(shift)}(h) with the hand-written adjoint of the module docstring; differentiable to any order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(data, activation, indices, present, shift):
        return compose(data, activation, indices, present, shift)

    @staticmethod
    def setup_context(ctx, inputs, output):
        data, ctx.activation, ctx.indices, ctx.present, ctx.shift = inputs
        ctx.save_for_backward(data)

    @staticmethod
    def backward(ctx, adjoint):
        (data,) = ctx.saved_tensors
        if adjoint.requires_grad or torch.is_grad_enabled():
            slope = _Compose.apply(data, ctx.activation, ctx.indices, ctx.present, ctx.shift + 1)
        else:
            slope = compose(data, ctx.activation, ctx.indices, ctx.present, ctx.shift + 1)
        rows = {row: i for i, row in enumerate(ctx.present)}
        totals: dict[int, Tensor] = {}
        for alpha, terms in enumerate(ctx.indices.leibniz()):
            for count, beta, rest in terms:
                if beta not in rows:
                    continue
                term = adjoint[alpha] * slope[rest]
                term = term if count == 1 else count * term
                i = rows[beta]
                totals[i] = totals[i] + term if i in totals else term
        return torch.stack([totals[i] for i in range(len(ctx.present))]), None, None, None, None
