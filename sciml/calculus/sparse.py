"""Jacobians whose rows see few parameters, by their entries: fields made of functions with small supports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .compact_sums import CompactRecord, near_pairs
from .jacobian import contributions, place, relevant
from .tape import Record


class SparseJacobian:
    """J of shape (R, P) as a sparse matrix on the host, multiplied with tensors of any device.

    Args:
        matrix: Its rows.
        like: A tensor whose device and dtype vectors have.
    """

    def __init__(self, matrix: sparse.csr_matrix, like: Tensor):
        self.matrix, self.like = matrix, like

    @property
    def shape(self) -> tuple[int, int]:
        """R, P."""
        return self.matrix.shape

    def __matmul__(self, v: Tensor) -> Tensor:
        """J v, shape (R,)."""
        return torch.from_numpy(self.matrix @ v.detach().cpu().numpy()).to(self.like)

    def transposed(self, w: Tensor) -> Tensor:
        """Jᵀ w, shape (P,)."""
        return torch.from_numpy(self.matrix.T @ w.detach().cpu().numpy()).to(self.like)


def is_sparse(tape: Sequence[Record], parameters: Sequence[Tensor]) -> bool:
    """Whether some record of a tape knows its Jacobian by entries, by trained parameters themselves."""
    known = {id(p) for p in parameters}
    records = [r for r in tape if isinstance(r, CompactRecord)]
    return bool(records) and all(id(t) in known for r in records for t in r.tensors)


def share_seen(tape: Sequence[Record]) -> float:
    """Share of its Gaussians that a point of the records sees, in the mean."""
    seen = total = 0
    for record in (r for r in tape if isinstance(r, CompactRecord)):
        for shift in record.shifts:
            seen += sum(len(pairs) for _, pairs in near_pairs(record.X + shift, record.centres, record.shape,
                                                              record.cutoff))
        total += len(record.X) * len(record.centres)
    return seen / max(total, 1)


def sparse_rows(residual: Tensor, tape: Sequence[Record], parameters: Sequence[Tensor],
                expanded: Sequence[tuple[Tensor, Tensor]] = ()) -> sparse.csr_matrix:
    """J of pointwise residuals, shape (N·K, P), the K components of a point one after the other.

    Args:
        residual, tape, parameters, expanded: As in `taped_jacobian`; records that know no entries give full columns.
    """
    N, K = residual.shape
    sizes = [p.numel() for p in parameters]
    starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    position = {id(p): i for i, p in enumerate(parameters)}
    compact = [r for r in tape if isinstance(r, CompactRecord)]
    others = relevant([r for r in tape if not isinstance(r, CompactRecord)], parameters)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for k in range(K):
        component, full = residual[:, k], dict[int, Tensor]()
        for _, what in contributions(component, others, expanded):
            place(full, what, parameters, position)
        for i, dense in full.items():
            at = torch.meshgrid(torch.arange(N) * K + k, torch.arange(sizes[i]) + starts[i], indexing="ij")
            parts.append(_entry(at[0].flatten(), at[1].flatten(), dense.flatten()))
        if not component.requires_grad:
            continue
        grads = torch.autograd.grad(component.sum(), [r.target for r in compact], retain_graph=True, allow_unused=True)
        for record, a in zip(compact, grads, strict=True):
            for tensor, rows, columns, values in record.entries(a) if a is not None else ():
                parts.append(_entry(rows * K + k, columns + starts[position[id(tensor)]], values))
    if not parts:
        return sparse.csr_matrix((N * K, starts[-1]))
    n, c, v = (np.concatenate(p) for p in zip(*parts, strict=True))
    return sparse.csr_matrix((v, (n, c)), shape=(N * K, starts[-1]))


def _entry(*parts: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns, values = (p.detach().cpu().numpy() for p in parts)
    return rows, columns, values
