"""Jacobians of pointwise residuals with respect to parameters, from one taped Taylor pass.

If r_n depends on the parameters only through what happens at point n, then for a layer z = h Wᵀ + b on all streams s

    ∂r_n/∂W = Σ_s (∂r_n/∂z_s,n) h_s,nᵀ,        ∂r_n/∂b = ∂r_n/∂z_0,n,

and one reverse pass of Σ_n r_n yields every ∂r_n/∂z_s,n at once. The whole Jacobian costs one reverse pass per
component and one batched outer product per layer. Fields without a tape fall back on `vmap` of reverse mode.

A tape knows only the operations that record themselves. `is_complete` compares a Jacobian with one plain gradient, so
that a parameter used in any other way is noticed and not left where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from .tape import Contribution, Record


def contributions(component: Tensor, tape: Sequence[Record],
                  expanded: Sequence[tuple[Tensor, Tensor]] = ()) -> Iterator[tuple[int, Contribution]]:
    """What one reverse pass of Σ_n r_n finds for every record, with the record's number.

    Args:
        component: Shape (N,), with graph.
        tape, expanded: As in `taped_jacobian`.
    """
    if not component.requires_grad:
        return
    targets = [record.target for record in tape] + [copy for _, copy in expanded]
    if not targets:
        return
    grads = torch.autograd.grad(component.sum(), targets, retain_graph=True, allow_unused=True)
    for number, (record, a) in enumerate(zip(tape, grads, strict=False)):
        if a is None:
            continue
        for what in record.contributions(a):
            yield number, what
    for (p, _), a in zip(expanded, grads[len(tape):], strict=True):
        if a is not None:
            yield -1, Contribution(p, a, a, None)


def relevant(tape: Sequence[Record], parameters: Sequence[Tensor]) -> list[Record]:
    """Records that touch some parameters: a reverse pass for the last layer stops there."""
    wanted = {id(p) for p in parameters}

    def touches(t: Tensor) -> bool:
        if id(t) in wanted or t.grad_fn is None:
            return id(t) in wanted
        found = torch.autograd.grad(t, list(parameters), torch.ones_like(t), retain_graph=True, allow_unused=True)
        return any(g is not None for g in found)

    return [r for r in tape if any(touches(t) for t in r.tensors)]


def place(found: dict[int, Tensor], what: Contribution, parameters: Sequence[Tensor],
          position: Mapping[int, int]) -> None:
    """Adds the columns (N, size) of a contribution to those of a parameter, or of all that its tensor comes from.

    Args:
        found: Columns by position of the parameter.
        position: Of the parameters, by id.
    """
    columns = what.columns
    if id(what.tensor) not in position and what.tensor.grad_fn is None:
        return
    if columns is None:
        assert what.matrix is not None
        columns = torch.bmm(what.adjoint.permute(1, 2, 0), what.matrix.permute(1, 0, 2))
    N = len(columns)
    if id(what.tensor) in position:
        parts = {position[id(what.tensor)]: columns}
    else:
        grads = torch.autograd.grad(what.tensor, list(parameters), columns.reshape(N, *what.tensor.shape),
                                    retain_graph=True, allow_unused=True, is_grads_batched=True)
        parts = {i: g for i, g in enumerate(grads) if g is not None}
    for i, part in parts.items():
        part = part.reshape(N, -1)
        found[i] = found[i] + part if i in found else part


def taped_jacobian(residual: Tensor, tape: Sequence, parameters: Sequence[Tensor],
                   expanded: Sequence[tuple[Tensor, Tensor]] = ()) -> Tensor:
    """J of pointwise residuals.

    Args:
        residual: Shape (N, K), with graph.
        tape: Records of the pass that made it.
        parameters: The P parameters' tensors, in the order of the columns.
        expanded: Pairs (scalar parameter, its copy per point of shape (N,)) used in the residual itself.

    Returns:
        Shape (N, K, P).
    """
    N, K = residual.shape
    tape = relevant(tape, parameters)
    sizes = [p.numel() for p in parameters]
    starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    position = {id(p): i for i, p in enumerate(parameters)}
    J = torch.zeros(N, K, starts[-1], dtype=residual.dtype, device=residual.device)
    for k in range(K):
        found: dict[int, Tensor] = {}
        for _, what in contributions(residual[:, k], tape, expanded):
            place(found, what, parameters, position)
        for i, columns in found.items():
            J[:, k, starts[i]:starts[i + 1]] = columns
    return J


def is_complete(J: Tensor, residual: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether Σ_n c_n ∂r_n/∂θ from a Jacobian is the gradient of Σ_n c_n r_n, with c_n = 3/2 + cos n.

    It is not if a parameter acts outside the tape, or if r_n depends on other points than the n-th.

    Args:
        J: Shape (N, K, P).
        residual: Shape (N, K), with graph.
        parameters: As in `taped_jacobian`.
    """
    c = 1.5 + torch.cos(torch.arange(len(residual), dtype=residual.dtype, device=residual.device))
    tolerance = torch.finfo(residual.dtype).eps ** 0.5
    for k in range(residual.shape[1]):
        component = residual[:, k] @ c
        if not component.requires_grad:
            continue
        grads = torch.autograd.grad(component, list(parameters), retain_graph=True, allow_unused=True)
        want = torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1)
                          for p, g in zip(parameters, grads, strict=True)])
        scale = (c @ J[:, k].abs() + want.abs()).max()
        if bool(torch.isfinite(scale)) and bool(((c @ J[:, k] - want).abs() > tolerance * scale).any()):
            return False
    return True


def vmapped_jacobian(residual: Callable[[dict, Tensor], Tensor], module: nn.Module, X: Tensor) -> Tensor:
    """J by `vmap` of reverse mode, for any module: the oracle, and the way for modules without jets.

    Args:
        residual: (parameters by name, one point (D,)) ↦ (K,).
        module: Its trainable parameters are the columns.
        X: Points, shape (N, D).

    Returns:
        Shape (N, K, P).
    """
    parameters = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
    parts = torch.func.vmap(torch.func.jacrev(residual), in_dims=(None, 0))(parameters, X)
    return torch.cat([parts[n].reshape(X.shape[0], -1, p.numel()) for n, p in parameters.items()], dim=-1)
