"""Jacobians of pointwise residuals with respect to parameters, from one taped Taylor pass.

If r_n depends on the parameters only through what happens at point n, then for a layer z = h Wᵀ + b on all streams s

    ∂r_n/∂W = Σ_s (∂r_n/∂z_s,n) h_s,nᵀ,        ∂r_n/∂b = ∂r_n/∂z_0,n,

and one reverse pass of Σ_n r_n yields every ∂r_n/∂z_s,n at once. The whole Jacobian costs one reverse pass per
component and one batched outer product per layer. Fields without a tape fall back on `vmap` of reverse mode.

A tape knows only the operations that record themselves. `is_complete` compares a Jacobian with one plain gradient, so
that a parameter used in any other way is noticed and not left where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .jet import LinearRecord


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
    columns, start = {}, 0
    for p in parameters:
        columns[id(p)] = slice(start, start + p.numel())
        start += p.numel()
    J = torch.zeros(N, K, start, dtype=residual.dtype, device=residual.device)
    targets = [record.target for record in tape] + [copy for _, copy in expanded]
    for k in range(K):
        component = residual[:, k]
        if not component.requires_grad:
            continue
        grads = torch.autograd.grad(component.sum(), targets, retain_graph=True, allow_unused=True)
        for record, adjoint in zip(tape, grads, strict=False):
            if adjoint is not None:
                _record(J[:, k], record, adjoint, columns, parameters)
        for (p, _), adjoint in zip(expanded, grads[len(tape):], strict=True):
            if adjoint is not None and id(p) in columns:
                J[:, k, columns[id(p)]] += adjoint.reshape(N, -1)
    return J


def _record(J: Tensor, record, adjoint: Tensor, columns: dict, parameters: Sequence[Tensor]) -> None:
    """Adds what one record contributes to the (N, P) Jacobian of one component."""
    N = J.shape[0]
    if isinstance(record, LinearRecord):
        slope = torch.bmm(adjoint.permute(1, 2, 0), record.source.detach().permute(1, 0, 2))
        _place(J, record.weight, slope, columns, parameters)
        if record.bias is not None:
            _place(J, record.bias, adjoint[0], columns, parameters)
        return
    product = (adjoint * record.source.detach()).sum(0)
    if record.factor.ndim == 0:
        product = product.sum(-1)
    _place(J, record.factor, product.reshape(N, *record.factor.shape), columns, parameters)


def _place(J: Tensor, tensor: Tensor, slope: Tensor, columns: dict, parameters: Sequence[Tensor]) -> None:
    """Writes ∂r/∂tensor, or carries it on to the parameters that `tensor` was computed from."""
    N = J.shape[0]
    if id(tensor) in columns:
        J[:, columns[id(tensor)]] += slope.reshape(N, -1)
        return
    if tensor.grad_fn is None:
        return
    grads = torch.autograd.grad(tensor, list(parameters), slope.reshape(N, *tensor.shape), retain_graph=True,
                                allow_unused=True, is_grads_batched=True)
    for p, g in zip(parameters, grads, strict=True):
        if g is not None:
            J[:, columns[id(p)]] += g.reshape(N, -1)


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
