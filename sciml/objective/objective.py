"""The objective: problem + field + points as one stacked residual vector.

    r(θ) = [ √(λ_b / N_b) w_b,n r_b,n(θ) ]_b,n,        L(θ) = |r|² = Σ_b λ_b mean_n |w_b,n r_b,n|²

Losses, gradients by block, residual vectors and Jacobians are views of this one object. A block's rows are pointwise
values, their differences between opposite faces, or their integrals; all three are linear in the pointwise values, so
the Jacobian follows from the pointwise one. Balancers set the λ_b and w_b,n. Where points are a quadrature or a biased
sample, the mean over n is Σ ω_n (…) / N with `shares` ω_n of mean one. A preconditioner replaces the rows of its
blocks by √(λ / N) (M r − c), M linear; gradients then take one more pass without graph, ∇|z|² = 2 Jᵀ Mᵀ z. It may
also train other rows in place of a block's (`stand_ins`); reports, samplers and balancers see the block's own.
Energies are no squares: λ_b E_b is added to L as it is, for methods that take a loss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..calculus import Program, TaylorForward, engine_for
from ..calculus.engines import Engine
from ..calculus.factored import FactoredJacobian
from ..points import Points
from ..precondition import Transform
from ..problem import Block, Problem
from .compiler import has_compiler
from .linearize import Linearizer
from .parameters import TrainableParameters

log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """A chunk of a block: its points, their data, and the rows they make."""

    points: Points
    data: Mapping[str, Tensor]
    rows: slice


class Objective(nn.Module):
    """Residual blocks of a problem for a field at points.

    Args:
        problem: What must hold.
        field: u_θ, from (N, D) to (N, C).
        parameters: The problem's unknown parameters.
        blocks: The blocks that the field does not satisfy by construction.
        engine: How derivatives are computed; None: Taylor mode if the field has it.
        chunk: Points per pass; memory and cache, not the result, depend on it.
    """

    def __init__(self, problem: Problem, field: nn.Module, parameters: TrainableParameters, blocks: list[Block],
                 engine: Engine | None = None, chunk: int = 4096):
        super().__init__()
        self.problem, self.field, self.parameters_ = problem, field, parameters
        self.blocks = blocks
        self.engine = engine or engine_for(field)
        self.chunk = int(chunk)
        self.points: dict[str, Points] = {}
        self.weights: dict[str, float | Tensor] = {b.name: b.weight for b in blocks}
        self.point_weights: dict[str, Tensor] = {}
        self.shares: dict[str, Tensor] = {}
        self.ceilings: dict[str, int] = {}
        self.recording = False
        self.recorded: dict[str, Tensor] = {}
        self.transforms: list[Transform] = []
        self.stand_ins: dict[str, Block] = {}
        self.data: dict[str, Mapping[str, Tensor]] = {}
        self._pass: Callable[..., Tensor] = self.values
        self.linearizer = Linearizer(self)

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Everything that is optimised, in the order of Jacobian columns."""
        return [p for p in self.parameters() if p.requires_grad]

    def values(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None,
               tape: list | None = None, copies: list | None = None, engine: Engine | None = None) -> Tensor:
        """Pointwise residual components, shape (N, K).

        Args:
            block: Which.
            points: Where.
            data: Measured values at these points.
            tape, copies: Filled for `taped_jacobian`.
            engine: Instead of the objective's own.
        """
        X = points.X
        engine = engine or self.engine
        program = self._program(block, engine)
        requests = program.requests
        unknowns = self.problem.setting.unknowns
        leaves = dict(engine.derivatives(self.field, X, requests, unknowns, tape)) if requests else {}
        N = X.shape[0]
        for key in program.leaves:
            kind, name, _ = key
            if kind == "coordinate":
                leaves[key] = X[:, points.names.index(name)]
            elif kind == "normal":
                assert points.normals is not None
                leaves[key] = points.normals[:, points.names.index(name)]
            elif kind == "data":
                leaves[key] = (data or {})[name]
            elif kind == "parameter":
                leaves[key] = self.parameters_.value(name, N if copies is not None else None, copies)
        return torch.stack(program(leaves, X[:, 0]), dim=1)

    def _program(self, block: Block, engine: Engine) -> Program:
        """A block's program, with operators as streams where engine and field know them."""
        whole = isinstance(engine, TaylorForward) and getattr(self.field, "collapses", False)
        return block.program.collapsed() if whole and isinstance(block.program, Program) else block.program

    def compile_pass(self, backend: str = "inductor") -> bool:
        """Compiles `values`, the pass that every loss is made of, as one graph without breaks (torch.compile).

        Jacobians stay eager: they read adjoints inside the pass, which a compiled graph does not show.

        Args:
            backend: Of torch.compile.

        Returns:
            Whether it was compiled; False, with a warning, on a machine without a C++ compiler.
        """
        if self.device.type == "cpu" and backend == "inductor" and not has_compiler():
            log.warning("no C++ compiler was found, so the pass runs eagerly; install g++ or clang++, or set CXX")
            return False
        X = torch.zeros(1, len(self.problem.coordinates), dtype=self.dtype, device=self.device)
        for block in self.blocks:                 # fields make their tables here: programs cannot be made while tracing
            self.engine.derivatives(self.field, X, self._program(block, self.engine).requests,
                                    self.problem.setting.unknowns)
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        self._pass = torch.compile(self.values, fullgraph=True, dynamic=False, backend=backend)
        return True

    def partner(self, block: Block, points: Points) -> Points:
        """The points on the opposite face of a "difference" block."""
        assert block.partner is not None
        name, shift = block.partner
        offset = torch.zeros(points.X.shape[1], dtype=points.X.dtype, device=points.X.device)
        offset[points.names.index(name)].fill_(shift)
        return replace(points, X=points.X + offset)

    def rows(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None) -> Tensor:
        """Residual rows of a block, shape (R, K)."""
        f = self._pass(block, points, data)
        if block.combine == "difference":
            return f - self._pass(block, self.partner(block, points))
        if block.combine == "integral":
            return self.integrate(block, points, f) - block.target
        return f if block.tests is None else block.tests(f)[:, None]

    def integrate(self, block: Block, points: Points, f: Tensor) -> Tensor:
        """Σ wₙ fₙ over each group of quadrature points, shape (groups, …) from (N, …)."""
        assert points.weights is not None
        weighted = points.weights.reshape(-1, *[1] * (f.ndim - 1)) * f
        return weighted.reshape(block.groups, -1, *f.shape[1:]).sum(1)

    def pieces(self, block: Block, count: int | None = None) -> Iterator[Piece]:
        """The block's points, or `count` of them evenly spaced in their order, in chunks; integrals are never cut."""
        points, data = self.points[block.name], self.data.get(block.name, {})
        if block.whole:
            yield Piece(points, data, slice(0, self.row_count(block)))
            return
        if count is not None and count < len(points):
            index = torch.arange(count, device=self.device) * len(points) // count
            points, data = points[index], {k: v[index] for k, v in data.items()}
        for start in range(0, len(points), self.chunk):
            piece = slice(start, min(start + self.chunk, len(points)))
            yield Piece(points[piece], {k: v[piece] for k, v in data.items()}, piece)

    def row_count(self, block: Block) -> int:
        """R, rows of one component."""
        whole = block.tests.shape[0] if block.tests is not None else block.groups
        return whole if block.whole else len(self.points[block.name])

    def most_rows(self, block: Block) -> int:
        """R that it will have at the end, where a sampler adds points."""
        return max(self.row_count(block), self.ceilings.get(block.name, 0))

    def factor(self, block: Block, rows: slice) -> float | Tensor:
        """√(λ ω / R) w for some rows of a block: a number, or shape (rows, 1)."""
        root = (self.weights[block.name] / self.row_count(block)) ** 0.5
        weights, shares = self.point_weights.get(block.name), self.shares.get(block.name)
        if weights is not None:
            root = root * weights[rows, None]
        return root if shares is None else root * shares[rows, None].sqrt()

    def _squares(self, block: Block, r: Tensor, rows: slice) -> Tensor:
        """Σ ω_n |r_n|² over some rows (R, K) of a block; of an energy its value."""
        if block.combine == "energy":
            return r.sum()
        shares = self.shares.get(block.name)
        return r.square().sum() if shares is None else (shares[rows, None] * r.square()).sum()

    def losses(self) -> dict[str, Tensor]:
        """Mean square residual of each block, without λ and w, with graph."""
        found = {}
        for block in self.blocks:
            squares = [self._squares(block, self.rows(block, p, data), rows) for p, data, rows in self.pieces(block)]
            found[block.name] = torch.stack(squares).sum() / self.row_count(block)
        return found

    def loss(self) -> Tensor:
        """L = |r|² and the energies, with graph."""
        return self._stack().square().sum() + sum(self._energy(b) for b in self.energies)

    def _energy(self, block: Block) -> Tensor:
        """λ E."""
        return self.weights[block.name] * self.rows(block, self.points[block.name]).sum()

    def total(self, losses: Mapping[str, float]) -> float:
        """L, from unweighted block losses where that is possible."""
        if self.point_weights or self.transforms or self.stand_ins:
            with torch.no_grad():
                return float(self.loss())
        return sum(float(self.weights[n]) * v for n, v in losses.items())

    def backward(self, names: Sequence[str] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Accumulates ∇L chunk by chunk (memory of one chunk).

        Args:
            names: Blocks that count; None: all. Preconditioned blocks come together or not at all.

        Returns:
            L of these blocks, and their unweighted losses. While `recording`, |r_n| is kept in `recorded`.
        """
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        found: dict[str, Tensor] = {}
        wanted = {b.name for b in self.blocks} if names is None else set(names)
        for block in [*self.trained, *self.energies]:
            if block.name not in wanted:
                continue
            square, sizes = torch.zeros_like(total), []
            for points, data, rows in self.pieces(block):
                r = self.rows(block, points, data)
                part = self.weights[block.name] * r.sum() if block.combine == "energy" else \
                    (self.factor(block, rows) * r).square().sum()
                if part.requires_grad:
                    part.backward()
                total = total + part.detach()
                square = square + self._squares(block, r.detach(), rows)
                if self.recording:
                    sizes.append(r.detach().norm(dim=1))
            found[block.name] = square / self.row_count(block)
            if self.recording:
                self.recorded[block.name] = torch.cat(sizes)
        for transform in self.transforms:
            if wanted & set(transform.blocks):
                total = total + self._backward_through(transform, found)
        return total, found

    def _backward_through(self, transform: Transform, found: dict[str, Tensor]) -> Tensor:
        blocks = self.blocks_of(transform)
        with torch.no_grad():
            raw = [torch.cat([self.rows(b, p, data) for p, data, _ in self.pieces(b)]) for b in blocks]
            z = self.transformed(transform, torch.cat([r.reshape(-1) for r in raw]))
            adjoint = 2 * self.transform_factor(transform, len(z)) * transform.transpose(z)
        start = 0
        for block, r in zip(blocks, raw, strict=True):
            found[block.name] = r.square().sum() / self.row_count(block)
            if self.recording:
                self.recorded[block.name] = r.norm(dim=1)
            share = adjoint[start:start + r.numel()].view_as(r)
            start += r.numel()
            for points, data, rows in self.pieces(block):
                part = (share[rows] * self.rows(block, points, data)).sum()
                if part.requires_grad:
                    part.backward()
        return z.square().sum()

    def gradients(self, groups: Sequence[Sequence[str]] | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Gradients of the weighted losses of groups of blocks.

        Args:
            groups: Names of the blocks of each; None: every block by itself.

        Returns:
            L of every group, shape (m,); the gradients, shape (m, P), zero where a parameter is not touched; and
            the unweighted losses by block. `.grad` of the parameters is left empty.
        """
        parameters = self.trainable
        groups = [[b.name] for b in self.blocks] if groups is None else groups
        totals, flat, found = [], [], {}
        for names in groups:
            for p in parameters:
                p.grad = None
            total, losses = self.backward(names)
            found.update(losses)
            totals.append(total)
            flat.append(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)
                                   for p in parameters]))
        for p in parameters:
            p.grad = None
        return torch.stack(totals), torch.stack(flat), found

    def magnitudes(self, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """|r_n| at the current points, unweighted, shape (R,), by block (None: all): the norm over components."""
        with torch.no_grad():
            return {b.name: torch.cat([self.rows(b, p, data).norm(dim=1) for p, data, _ in self.pieces(b)])
                    for b in self.blocks if names is None or b.name in names}

    def traces(self, count: int | None = None) -> dict[str, Tensor]:
        """κ_b = mean_n |∇_θ r_b,n|², the trace of the neural tangent kernel by block over its number of rows.

        Args:
            count: Rows that are used of each block, evenly spaced in their order; None: all.
        """
        found = {}
        for block in self.blocks:
            total, seen = torch.zeros((), dtype=self.dtype, device=self.device), 0
            for points, data, _ in self.pieces(block, count):
                values, J = self.linearizer.rows(block, points, data)
                total, seen = total + J.square().sum(), seen + len(values)
            found[block.name] = total / seen
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the parameters."""
        return next(self.parameters()).device

    def blocks_of(self, transform: Transform) -> list[Block]:
        """The blocks, or their stand-ins, whose rows a preconditioner takes, in its order."""
        return [self.stand_ins.get(name, b) for name in transform.blocks for b in self.blocks if b.name == name]

    @property
    def trained(self) -> list[Block]:
        """Blocks of squares that are trained and whose rows no preconditioner mixes."""
        taken = {name for t in self.transforms for name in t.blocks}
        return [self.stand_ins.get(b.name, b) for b in self.blocks if b.name not in taken and b.combine != "energy"]

    @property
    def energies(self) -> list[Block]:
        """Blocks that are no squares."""
        return [b for b in self.blocks if b.combine == "energy"]

    def transform_factor(self, transform: Transform, size: int) -> float | Tensor:
        """√(λ / N) of N preconditioned rows; rows of several blocks have no λ of their own."""
        return ((self.weights[transform.blocks[0]] if len(transform.blocks) == 1 else 1.0) / size) ** 0.5

    def transformed(self, transform: Transform, r: Tensor) -> Tensor:
        """√(λ / N) (M r − c) of rows (R,), √(λ / N) M J of their Jacobian (R, P)."""
        z = transform(r)
        if r.ndim == 1 and transform.offset is not None:
            z = z - transform.offset
        return self.transform_factor(transform, len(z)) * z

    def _stack(self) -> Tensor:
        """r, shape (R,), with graph if gradients are on."""
        parts = [torch.zeros(0, dtype=self.dtype, device=self.device)]       # with an energy alone there is no row
        parts += [(self.factor(b, rows) * self.rows(b, p, data)).reshape(-1)
                  for b in self.trained for p, data, rows in self.pieces(b)]
        for t in self.transforms:
            raw = [self.rows(b, p, data).reshape(-1) for b in self.blocks_of(t) for p, data, _ in self.pieces(b)]
            parts.append(self.transformed(t, torch.cat(raw)))
        return torch.cat(parts)

    @torch.no_grad()
    def residual(self) -> Tensor:
        """r, shape (R,), without graph: blocks in their order, preconditioned ones last."""
        return self._stack()

    def linearize(self, parameters: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """r of shape (R,) and J = ∂r/∂θ of shape (R, P) for some parameters (None: all), rows as in `residual`."""
        return self.linearizer.matrix(parameters)

    def factored(self) -> tuple[Tensor, FactoredJacobian]:
        """r of shape (R,) and J = ∂r/∂θ by its factors, in the memory of one pass through the field."""
        return self.linearizer.factored()

    def jacobian(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None,
                 parameters: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Residual components (N, K) and their gradients (N, K, P) at any points of a block's region, unweighted; for
        some parameters (None: all)."""
        parts = [self.linearizer.rows(block, points[i:i + self.chunk],
                                       {k: v[i:i + self.chunk] for k, v in (data or {}).items()}, parameters)
                 for i in range(0, len(points), self.chunk)]
        return torch.cat([r for r, _ in parts]), torch.cat([J for _, J in parts])

    def magnitude(self, block: Block) -> Callable[[Points], Tensor]:
        """|r| at any points of a block's region: the norm over components; for samplers and figures."""
        @torch.no_grad()
        def evaluate(points: Points) -> Tensor:
            parts = []
            for start in range(0, len(points), self.chunk):
                piece = points[start:start + self.chunk]
                parts.append(self.rows(block, piece).norm(dim=1))
            return torch.cat(parts)

        return evaluate
