"""Residual rows of blocks together with their Jacobian, as a matrix or by its factors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from scipy.sparse import block_diag, csr_matrix, diags, identity, kron, vstack
from torch import Tensor, nn

from ..calculus.engines import PointwiseReverse, TaylorForward
from ..calculus.factored import FactoredJacobian, FactoredRows, RowMap, taped_factors
from ..calculus.jacobian import is_complete, taped_jacobian, vmapped_jacobian
from ..calculus.sparse import SparseJacobian, is_sparse, share_seen, sparse_rows
from ..elements.functionals import Functionals, Total
from ..errors import TrainingError
from ..fields import Nodal
from ..optim.memory import demand_entries, demand_jacobian
from ..points import Points
from ..precondition import Transform
from ..problem import Block
from .nodal import demand_all, nodal_rows, nodal_tests

if TYPE_CHECKING:
    from .objective import Objective

log = logging.getLogger(__name__)
SAMPLED, FEW = 200, 0.25         # points that are looked at, and the share of parameters up to which they see few
VERIFIED = 64                      # points that a factored Jacobian is compared with a plain gradient at


class Linearizer:
    """Rows and their Jacobian, read off a tape where the field leaves one, otherwise point by point under `vmap`.

    Args:
        objective: Whose blocks.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self.taped = isinstance(objective.engine, TaylorForward)
        self.verified: set[str] = set()

    def rows(self, block: Block, points: Points, data: Mapping[str, Tensor] | None,
             parameters: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Unweighted rows of shape (R, K) and their Jacobian of shape (R, K, P) for some parameters; None: all."""
        objective = self.objective
        field = objective.field
        if isinstance(field, Nodal):
            demand_all(field, parameters)
            if isinstance(block.tests, Functionals):
                return nodal_tests(objective, field, block, block.tests, points)
        if block.tests is not None:
            return self._tested(block, block.tests, points, parameters)
        f, J = self._values(block, points, data, parameters)
        if block.combine == "difference":
            g, G = self._values(block, objective.partner(block, points), data, parameters)
            return f - g, J - G
        if block.combine == "integral":
            return objective.integrate(block, points, f) - block.target, objective.integrate(block, points, J)
        return f, J

    def _tested(self, block: Block, tests: Functionals | Total, points: Points, parameters: Sequence[Tensor] | None
                ) -> tuple[Tensor, Tensor]:
        """Rows of a weak form: pointwise Jacobians of all points together would take K · N · P numbers."""
        total: Tensor | None = None
        values, size = [], max(self.objective.chunk // 2, 1)
        for start in range(0, len(points), size):
            f, J = self._values(block, points[start:start + size], None, parameters)
            values.append(f)
            part = tests.part(J, start)
            total = part if total is None else total.add_(part)
        assert total is not None
        return tests(torch.cat(values))[:, None], total[:, None]

    def matrix(self, parameters: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """r of shape (R,) and J of shape (R, P) for some parameters (None: all), rows as in `Objective.residual`.

        Raises:
            TrainingError: J, with the points that a sampler will still add, is larger than the memory that is left.
        """
        objective = self.objective
        P = sum(p.numel() for p in (objective.trainable if parameters is None else parameters))
        plain = objective.trained
        R = sum(objective.row_count(b) * len(b.components) for b in plain)
        most = sum(objective.most_rows(b) * len(b.components) for b in plain)
        demand_jacobian(most, P, objective.dtype, objective.device)
        r = torch.empty(R, dtype=objective.dtype, device=objective.device)
        J = torch.empty(R, P, dtype=objective.dtype, device=objective.device)
        row = 0
        for block in plain:
            for points, data, rows in objective.pieces(block):
                values, slope = self.rows(block, points, data, parameters)
                factor, n = objective.factor(block, rows), values.numel()
                r[row:row + n] = (factor * values).reshape(-1)
                factor = factor[..., None] if isinstance(factor, Tensor) and factor.ndim else factor
                torch.mul(slope, factor, out=J[row:row + n].view_as(slope))
                row += n
        for transform in objective.transforms:
            parts = [self.rows(b, p, data, parameters) for b in objective.blocks_of(transform)
                     for p, data, _ in objective.pieces(b)]
            z = objective.transformed(transform, torch.cat([v.reshape(-1) for v, _ in parts]))
            Z = objective.transformed(transform, torch.cat([M.reshape(-1, P) for _, M in parts]))
            r, J = torch.cat([r, z]), torch.cat([J, Z])
        return r, J

    def sees_few(self) -> bool:
        """Whether rows see few of the parameters, so that `sparse` is worth while."""
        objective = self.objective
        if not self.taped or isinstance(objective.field, Nodal):
            return False
        for block in objective.trained:
            tape: list = []
            points, data, _ = next(iter(objective.pieces(block)))
            some = slice(None, None, max(len(points) // SAMPLED, 1))
            with torch.enable_grad():
                objective.values(block, points[some], {k: v[some] for k, v in data.items()}, tape, [])
            if is_sparse(tape, objective.trainable):
                share = share_seen(tape)
                rows = sum(objective.row_count(b) * len(b.components) for b in objective.trained)
                if share <= FEW:
                    demand_entries(round(share * rows * sum(p.numel() for p in objective.trainable)))
                return share <= FEW
        return False

    def sparse(self) -> tuple[Tensor, SparseJacobian]:
        """r of shape (R,) and its Jacobian by its entries, rows as in `Objective.residual`."""
        objective = self.objective
        values, matrices = [], []
        for block in objective.trained:
            for points, data, rows in objective.pieces(block):
                f, J = self._sparse_rows(block, points, data)
                factor = objective.factor(block, rows)
                values.append((factor * f).reshape(-1))
                matrices.append(_scaled(factor, f, J))
        for transform in objective.transforms:
            parts = [self._sparse_rows(b, p, data) for b in objective.blocks_of(transform)
                     for p, data, _ in objective.pieces(b)]
            values.append(objective.transformed(transform, torch.cat([v.reshape(-1) for v, _ in parts])))
            full = torch.from_numpy(vstack([M for _, M in parts]).toarray()).to(values[-1])
            matrices.append(csr_matrix(objective.transformed(transform, full).cpu().numpy()))
        return torch.cat(values), SparseJacobian(vstack(matrices, format="csr"), values[0])

    def _sparse_rows(self, block: Block, points: Points, data: Mapping[str, Tensor]
                     ) -> tuple[Tensor, csr_matrix]:
        """Unweighted rows (R, K) and the entries of their Jacobian (R·K, P)."""
        objective, parameters = self.objective, self.objective.trainable
        if block.name not in self.verified:
            few = points if block.combine == "integral" else points[:VERIFIED]
            self._values(block, few, {k: v[:len(few)] for k, v in data.items()})

        def entries(at: Points, data: Mapping[str, Tensor]) -> tuple[Tensor, csr_matrix]:
            tape: list = []
            copies: list = []
            with torch.enable_grad():
                values = objective.values(block, at, data, tape, copies)
                return values.detach(), sparse_rows(values, tape, parameters, copies)

        if isinstance(block.tests, Total):
            f, J = self.rows(block, points, data)
            return f, csr_matrix(J.reshape(f.numel(), -1).cpu().numpy())
        f, J = entries(points, data)
        if block.tests is not None:
            return block.tests(f)[:, None], (block.tests.matrix @ J).tocsr()
        if block.combine == "difference":
            g, G = entries(objective.partner(block, points), data)
            return f - g, J - G
        if block.combine == "integral":
            assert points.weights is not None
            w = points.weights.reshape(block.groups, -1).cpu().numpy()
            sums = block_diag([row[None] for row in w])
            return objective.integrate(block, points, f) - block.target, \
                (kron(sums, identity(f.shape[1])) @ J).tocsr()
        return f, J

    def factored(self) -> tuple[Tensor, FactoredJacobian]:
        """r of shape (R,) and its Jacobian by factors, rows as in `Objective.residual`."""
        objective, parameters = self.objective, self.objective.trainable
        values, pieces = [], []
        for block in objective.trained:
            for points, data, rows in objective.pieces(block):
                f, J = self._factored_rows(block, points, data, parameters)
                factor = objective.factor(block, rows)
                values.append((factor * f).reshape(-1))
                pieces.append(J.scaled(factor))
        maps, start = [], sum(len(v) for v in values)
        for transform in objective.transforms:
            raw = []
            for block in objective.blocks_of(transform):
                for points, data, _ in objective.pieces(block):
                    f, J = self._factored_rows(block, points, data, parameters)
                    raw.append(f.reshape(-1))
                    pieces.append(J)
            z = objective.transformed(transform, torch.cat(raw))
            stop = start + sum(len(v) for v in raw)
            maps.append(_map_of(objective, transform, start, stop, len(z)))
            values.append(z)
            start = stop
        return torch.cat(values), FactoredJacobian(pieces, parameters, maps)

    def _factored_rows(self, block: Block, points: Points, data: Mapping[str, Tensor],
                       parameters: list[nn.Parameter]) -> tuple[Tensor, FactoredRows]:
        """Unweighted rows (R, K) and the factors of their Jacobian; the matrix where a field leaves no tape."""
        objective = self.objective
        if self.taped and block.name not in self.verified and not isinstance(objective.field, Nodal):
            few = points if block.combine == "integral" else points[:VERIFIED]
            self._values(block, few, {k: v[:len(few)] for k, v in data.items()})
        if not self.taped or block.tests is not None or isinstance(objective.field, Nodal):
            f, matrix = self.rows(block, points, data)
            return f, FactoredRows.of_matrix(matrix, parameters)

        def factors(at: Points) -> tuple[Tensor, FactoredRows]:
            tape: list = []
            copies: list = []
            with torch.enable_grad():
                values = objective.values(block, at, data, tape, copies)
                return values.detach(), taped_factors(values, tape, parameters, copies)

        f, J = factors(points)
        if block.combine == "difference":
            g, G = factors(objective.partner(block, points))
            return f - g, J.minus(G)
        if block.combine == "integral":
            assert points.weights is not None
            return objective.integrate(block, points, f) - block.target, J.summed(points.weights, block.groups)
        return f, J

    def _values(self, block: Block, points: Points, data, only: Sequence[Tensor] | None = None
                ) -> tuple[Tensor, Tensor]:
        objective, parameters = self.objective, self.objective.trainable
        if isinstance(objective.field, Nodal):
            f, sparse = nodal_rows(objective, objective.field, block, points, data)
            return f, sparse.to_dense().reshape(*f.shape, -1)
        if not self.taped:
            values, J = self._vmapped(block, points, data or {})
            if block.name not in self.verified:
                with torch.enable_grad():
                    self._verify(block, J, objective.values(block, points, data), parameters)
            return values, J if only is None else J[..., _columns_of(only, parameters)]
        tape: list = []
        copies: list = []
        verified = block.name in self.verified
        with torch.enable_grad():
            values = objective.values(block, points, data, tape, copies)
            J = taped_jacobian(values, tape, only if verified and only is not None else parameters, copies)
            if not verified:
                if not self._verify(block, J, values, parameters):
                    return self._values(block, points, data, only)
                J = J if only is None else J[..., _columns_of(only, parameters)]
        return values.detach(), J

    def _verify(self, block: Block, J: Tensor, values: Tensor, parameters: list[nn.Parameter]) -> bool:
        """Compares a block's first Jacobian with a plain gradient; False if the tape missed some parameter.

        Raises:
            TrainingError: The field at a point depends on other points, so that there is no pointwise Jacobian.
        """
        if is_complete(J, values, parameters):
            self.verified.add(block.name)
            return True
        if not self.taped:
            raise TrainingError(
                f"the Jacobian of condition {block.name!r} is not the sum of its points: the field at a point depends "
                "on the others (batch normalisation, a mean?); use optimizer=adam or lbfgs, or a field without that")
        log.warning("the field uses parameters outside `linear` and `scale`, which leave no record; its Jacobian "
                    "is computed point by point instead, which takes longer")
        self.taped = False
        return False

    def _vmapped(self, block: Block, points: Points, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and Jacobian of a field whose pass leaves no tape, point by point under `vmap`."""
        extra = {"normals": points.normals, **{f"data:{k}": v for k, v in data.items()}}
        columns = {k: v.reshape(len(points), -1) for k, v in extra.items() if v is not None}
        width = points.X.shape[1]
        X = torch.cat([points.X, *columns.values()], dim=1)

        def pointwise(parameters, x):
            one, offset, parts = Points(x[None, :width], points.names), width, {}
            for k, column in columns.items():
                parts[k] = x[None, offset:offset + column.shape[1]]
                offset += column.shape[1]
            one = replace(one, normals=parts.get("normals"))
            given = {k.split(":")[1]: v[:, 0] for k, v in parts.items() if k.startswith("data:")}
            return torch.func.functional_call(_Values(self.objective, block), {
                f"objective.{n}": p for n, p in parameters.items()}, (one, given))[0]

        J = vmapped_jacobian(pointwise, self.objective, X)
        with torch.no_grad():
            return self.objective.values(block, points, data).detach(), J


def _scaled(factor: float | Tensor, f: Tensor, J: csr_matrix) -> csr_matrix:
    """Rows of J times those of a factor that multiplies f."""
    row = torch.as_tensor(factor, dtype=f.dtype, device=f.device).expand_as(f).reshape(-1)
    return (diags(row.cpu().numpy()) @ J).tocsr()


class _Values(nn.Module):
    """`Objective.values` as a forward method, so that `functional_call` can replace the parameters."""

    def __init__(self, objective: Objective, block: Block):
        super().__init__()
        self.objective, self.block = objective, block

    def forward(self, points, data):
        return self.objective.values(self.block, points, data, engine=PointwiseReverse())


def _map_of(objective: Objective, transform: Transform, start: int, stop: int, size: int) -> RowMap:
    factor = objective.transform_factor(transform, size)
    return RowMap(start, stop, size, lambda r: factor * transform.apply(r), lambda z: transform.transpose(factor * z))


def _columns_of(only: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Columns of some of the parameters in a Jacobian for all."""
    starts, start = {}, 0
    for p in parameters:
        starts[id(p)] = range(start, start := start + p.numel())
    return torch.tensor([c for p in only for c in starts[id(p)]], dtype=torch.long, device=parameters[0].device)
