"""Linearised equations: ∂f/∂(∂^α u) of a block's program at points."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..calculus.indices import MultiIndex
from ..calculus.program import LeafKey
from ..points import Points
from ..problem import Block
from .preconditioner import View


def other_leaves(view: View, block: Block, points: Points) -> dict[LeafKey, Tensor]:
    """The leaves of a program that are not unknowns, each of shape (N,)."""
    leaves: dict[LeafKey, Tensor] = {}
    for key in block.program.leaves:
        kind, name, _ = key
        if kind == "coordinate":
            leaves[key] = points.column(name)
        elif kind == "normal":
            assert points.normals is not None
            leaves[key] = points.normals[:, points.names.index(name)]
        elif kind == "parameter":
            leaves[key] = view.parameters_.value(name, None, None).detach()
    return leaves


def field_leaves(view: View, block: Block, points: Points) -> dict[LeafKey, Tensor]:
    """Derivatives of the field that a program asks for, without graph."""
    requests = block.program.requests
    with torch.no_grad():
        return dict(view.engine.derivatives(view.field, points.X, requests, view.problem.setting.unknowns)) \
            if requests else {}


def coefficients(block: Block, unknowns: Mapping[LeafKey, Tensor], others: Mapping[LeafKey, Tensor],
                 like: Tensor) -> tuple[Tensor, dict[tuple[int, str, MultiIndex], Tensor]]:
    """Residual f and the coefficients ∂f_k/∂(∂^α u) where the unknowns' derivatives have given values.

    Args:
        block: With K components.
        unknowns, others: All leaves of its program.
        like: Some tensor of shape (N,).

    Returns:
        f, shape (N, K); coefficients of shape (N,) by component, unknown and α, those that vanish by construction
        left out.
    """
    with torch.enable_grad():
        leaves = {key: v.detach().clone().requires_grad_() for key, v in unknowns.items()}
        outputs = block.program({**others, **leaves}, like)
        found = {}
        for k, f in enumerate(outputs):
            if not f.requires_grad:
                continue
            slopes = torch.autograd.grad(f.sum(), list(leaves.values()), retain_graph=True, allow_unused=True)
            for (_, name, alpha), slope in zip(leaves, slopes, strict=True):
                if slope is not None:
                    found[k, name, alpha] = slope.detach()
    return torch.stack([f.detach() for f in outputs], dim=1), found


def is_linear(view: View, block: Block, points: Points) -> bool:
    """Whether the coefficients depend neither on the unknowns, at made-up values of them, nor on parameters."""
    if block.program.uses("parameter"):
        return False
    generator = torch.Generator().manual_seed(0)
    like, others = points.X[:, 0], other_leaves(view, block, points)
    found = []
    for _ in range(2):
        made = {key: torch.randn(len(points), generator=generator, dtype=torch.float64).to(like)
                for key in block.program.leaves if key[0] == "unknown"}
        found.append(coefficients(block, made, others, like)[1])
    first, second = found
    return all(torch.allclose(first[key], second[key], rtol=1e-6 if like.dtype == torch.float32 else 1e-10)
               for key in first)
