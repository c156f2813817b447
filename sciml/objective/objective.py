"""The objective: problem + field + points as one stacked residual vector.

    r(θ) = [ √(λ_b / N_b) r_b(θ) ]_b,        L(θ) = |r|² = Σ_b λ_b mean_n |r_b,n|²

Losses, gradients, residual vectors and Jacobians are views of this one object. A block's rows are pointwise values,
their differences between opposite faces, or their integrals; all three are linear in the pointwise values, so the
Jacobian follows from the pointwise one.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from ..calculus import engine_for
from ..calculus.engines import Engine, PointwiseReverse, TaylorForward
from ..calculus.jacobian import is_complete, taped_jacobian, vmapped_jacobian
from ..errors import TrainingError
from ..points import Points
from ..problem import Block, Problem
from .parameters import TrainableParameters

log = logging.getLogger(__name__)


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
        self.weights: dict[str, float] = {b.name: b.weight for b in blocks}
        self.data: dict[str, Mapping[str, Tensor]] = {}
        self._pass: Callable[..., Tensor] = self.values
        self._taped = isinstance(self.engine, TaylorForward)
        self._verified: set[str] = set()

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
        requests = block.program.requests
        engine = engine or self.engine
        unknowns = self.problem.setting.unknowns
        leaves = dict(engine.derivatives(self.field, X, requests, unknowns, tape)) if requests else {}
        N = X.shape[0]
        for key in block.program.leaves:
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
        return torch.stack(block.program(leaves, X[:, 0]), dim=1)

    def compile_pass(self, backend: str = "inductor") -> bool:
        """Compiles `values`, the pass that every loss is made of, as one graph without breaks (torch.compile).

        Jacobians stay eager: they read adjoints inside the pass, which a compiled graph does not show.

        Args:
            backend: Of torch.compile.

        Returns:
            Whether it was compiled; False, with a warning, on a machine without a C++ compiler.
        """
        if self.device.type == "cpu" and backend == "inductor" and not _has_compiler():
            log.warning("no C++ compiler was found, so the pass runs eagerly; install g++ or clang++, or set CXX")
            return False
        X = torch.zeros(1, len(self.problem.coordinates), dtype=self.dtype, device=self.device)
        for block in self.blocks:                 # fields make their tables here: programs cannot be made while tracing
            self.engine.derivatives(self.field, X, block.program.requests, self.problem.setting.unknowns)
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        self._pass = torch.compile(self.values, fullgraph=True, dynamic=False, backend=backend)
        return True

    def _partner(self, block: Block, points: Points) -> Points:
        assert block.partner is not None
        name, shift = block.partner
        offset = torch.zeros(points.X.shape[1], dtype=points.X.dtype, device=points.X.device)
        offset[points.names.index(name)].fill_(shift)
        return replace(points, X=points.X + offset)

    def rows(self, block: Block, points: Points, data: Mapping[str, Tensor] | None = None) -> Tensor:
        """Residual rows of a block, shape (R, K)."""
        f = self._pass(block, points, data)
        if block.combine == "difference":
            return f - self._pass(block, self._partner(block, points))
        if block.combine == "integral":
            return self._integrate(block, points, f) - block.target
        return f

    def _integrate(self, block: Block, points: Points, f: Tensor) -> Tensor:
        assert points.weights is not None
        weighted = points.weights.reshape(-1, *[1] * (f.ndim - 1)) * f
        return weighted.reshape(block.groups, -1, *f.shape[1:]).sum(1)

    def chunks(self, block: Block) -> Iterator[tuple[Points, Mapping[str, Tensor]]]:
        """The block's points in pieces of at most `chunk`; integrals are never cut."""
        points, data = self.points[block.name], self.data.get(block.name, {})
        size = len(points) if block.combine == "integral" else self.chunk
        for start in range(0, len(points), size):
            piece = slice(start, start + size)
            yield points[piece], {k: v[piece] for k, v in data.items()}

    def row_count(self, block: Block) -> int:
        """R, rows of one component."""
        return block.groups if block.combine == "integral" else len(self.points[block.name])

    def losses(self) -> dict[str, Tensor]:
        """Mean square residual of each block, unweighted, with graph."""
        found = {}
        for block in self.blocks:
            squares = [self.rows(block, p, data).square().sum() for p, data in self.chunks(block)]
            found[block.name] = torch.stack(squares).sum() / self.row_count(block)
        return found

    def loss(self) -> Tensor:
        """L = Σ λ_b mean |r_b|²."""
        return torch.stack([self.weights[name] * value for name, value in self.losses().items()]).sum()

    def backward(self) -> dict[str, Tensor]:
        """Accumulates ∇L chunk by chunk (memory of one chunk); returns the unweighted block losses."""
        found = {}
        for block in self.blocks:
            total = torch.zeros((), dtype=self.dtype, device=self.device)
            for points, data in self.chunks(block):
                part = self.rows(block, points, data).square().sum() / self.row_count(block)
                if part.requires_grad:
                    (self.weights[block.name] * part).backward()
                total = total + part.detach()
            found[block.name] = total
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the parameters."""
        return next(self.parameters()).device

    def _factor(self, block: Block) -> float:
        return sqrt(self.weights[block.name] / self.row_count(block))

    @torch.no_grad()
    def residual(self) -> Tensor:
        """r, shape (R,), without graph."""
        return torch.cat([self._factor(b) * self.rows(b, p, data).reshape(-1)
                          for b in self.blocks for p, data in self.chunks(b)])

    def linearize(self) -> tuple[Tensor, Tensor]:
        """r of shape (R,) and J = ∂r/∂θ of shape (R, P)."""
        parameters = self.trainable
        P = sum(p.numel() for p in parameters)
        R = sum(self.row_count(b) * len(b.components) for b in self.blocks)
        try:
            J = torch.empty(R, P, dtype=self.dtype, device=self.device)
        except RuntimeError as error:
            raise TrainingError(
                f"the Jacobian of {R:,} residuals and {P:,} parameters needs {R * P * 8 / 2**30:.1f} GiB, which this "
                "device does not have; use fewer points, a smaller field, or optimizer=lbfgs") from error
        r = torch.empty(R, dtype=self.dtype, device=self.device)
        row = 0
        for block in self.blocks:
            factor = self._factor(block)
            for points, data in self.chunks(block):
                values, slope = self._linearized_rows(block, points, data, parameters)
                n = values.numel()
                r[row:row + n] = factor * values.reshape(-1)
                torch.mul(slope.reshape(n, P), factor, out=J[row:row + n])
                row += n
        return r, J

    def _linearized_rows(self, block, points, data, parameters) -> tuple[Tensor, Tensor]:
        f, J = self._linearized_values(block, points, data, parameters)
        if block.combine == "difference":
            g, G = self._linearized_values(block, self._partner(block, points), data, parameters)
            return f - g, J - G
        if block.combine == "integral":
            return self._integrate(block, points, f) - block.target, self._integrate(block, points, J)
        return f, J

    def _linearized_values(self, block, points, data, parameters) -> tuple[Tensor, Tensor]:
        if not self._taped:
            values, J = self._vmapped(block, points, data)
            if block.name not in self._verified:
                with torch.enable_grad():
                    self._verify(block, J, self.values(block, points, data), parameters)
            return values, J
        tape: list = []
        copies: list = []
        with torch.enable_grad():
            values = self.values(block, points, data, tape, copies)
            J = taped_jacobian(values, tape, parameters, copies)
            if block.name not in self._verified and not self._verify(block, J, values, parameters):
                return self._linearized_values(block, points, data, parameters)
        return values.detach(), J

    def _verify(self, block: Block, J: Tensor, values: Tensor, parameters: list[nn.Parameter]) -> bool:
        """Compares a block's first Jacobian with a plain gradient; False if the tape missed some parameter.

        Raises:
            TrainingError: The field at a point depends on other points, so that there is no pointwise Jacobian.
        """
        if is_complete(J, values, parameters):
            self._verified.add(block.name)
            return True
        if not self._taped:
            raise TrainingError(
                f"the Jacobian of condition {block.name!r} is not the sum of its points: the field at a point depends "
                "on the others (batch normalisation, a mean?); use optimizer=adam or lbfgs, or a field without that")
        log.warning("the field uses parameters outside `linear` and `scale`, which leave no record; its Jacobian "
                    "is computed point by point instead, which takes longer")
        self._taped = False
        return False

    def _vmapped(self, block, points, data) -> tuple[Tensor, Tensor]:
        """Values and Jacobian of a field whose pass leaves no tape, point by point under `vmap`."""
        extra = {"normals": points.normals, **{f"data:{k}": v for k, v in data.items()}}
        names = [k for k, v in extra.items() if v is not None]
        width = points.X.shape[1]
        X = torch.cat([points.X, *[extra[k].reshape(len(points), -1) for k in names]], dim=1)

        def pointwise(parameters, x):
            one, offset, parts = Points(x[None, :width], points.names), width, {}
            for k in names:
                size = extra[k].reshape(len(points), -1).shape[1]
                parts[k] = x[None, offset:offset + size]
                offset += size
            one = replace(one, normals=parts.get("normals"))
            given = {k.split(":")[1]: v[:, 0] for k, v in parts.items() if k.startswith("data:")}
            return torch.func.functional_call(_Values(self, block), {f"objective.{n}": p for n, p in
                                                                    parameters.items()}, (one, given))[0]

        J = vmapped_jacobian(pointwise, self, X)
        with torch.no_grad():
            return self.values(block, points, data).detach(), J

    def magnitude(self, block: Block):
        """|r| at any points of a block's region: the norm over components; for samplers and figures."""
        @torch.no_grad()
        def evaluate(points: Points) -> Tensor:
            parts = []
            for start in range(0, len(points), self.chunk):
                piece = points[start:start + self.chunk]
                parts.append(self.rows(block, piece).norm(dim=1))
            return torch.cat(parts)

        return evaluate

    def worst(self) -> str:
        """Sentence about the block and point with the largest or first non-finite residual."""
        text, largest = "no residual", -1.0
        with torch.no_grad():
            for block in self.blocks:
                for points, data in self.chunks(block):
                    size = self.rows(block, points, data).norm(dim=1)
                    bad = ~torch.isfinite(size)
                    i = int(bad.float().argmax()) if bool(bad.any()) else int(size.argmax())
                    value = float("inf") if bool(bad.any()) else float(size[i])
                    if value > largest:
                        largest = value
                        at = "its integral" if block.combine == "integral" else ", ".join(
                            f"{n}={v:.4g}" for n, v in zip(points.names, points.X[i].tolist(), strict=True))
                        text = f"condition {block.name!r} at {at} (|r| = {float(size[i]):.3g})"
        return text


def _has_compiler() -> bool:
    """Whether torch's inductor finds a C++ compiler."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)


class _Values(nn.Module):
    """`Objective.values` as a forward method, so that `functional_call` can replace the parameters."""

    def __init__(self, objective: Objective, block: Block):
        super().__init__()
        self.objective, self.block = objective, block

    def forward(self, points, data):
        return self.objective.values(self.block, points, data, engine=PointwiseReverse())
