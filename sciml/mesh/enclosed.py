"""What a closed surface encloses: its volume, and which points are inside."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ProblemError
from .complex import Cells, Complex
from .geometry import mapped, measure, outward
from .kinds import CellKind
from .surface import Surface


class Enclosed:
    """The inside of a closed, oriented curve or surface; it is turned round if its normals point inwards.

    Args:
        complex_: Cells of dimension D − 1 in D coordinates.

    Raises:
        ProblemError: The surface has a rim, or neighbours turn in opposite directions.
    """

    def __init__(self, complex_: Complex):
        _check_closed(complex_)
        volume = _volume(complex_)
        self.complex = complex_ if volume > 0 else turned(complex_)
        self.volume = abs(volume)
        """∮ x·n / D, exact."""
        self.surface = Surface(self.complex)

    def inside(self, X: Tensor) -> Tensor:
        """Mask (N,) of points X (N, D) around which the surface winds."""
        return self.surface.winding(X) > 0.5


def turned(complex_: Complex) -> Complex:
    """The same cells with the opposite orientation."""
    blocks = tuple(Cells(b.kind, b.nodes[:, _reflection(b.kind)]) for b in complex_.blocks)
    return replace(complex_, blocks=blocks)


def _reflection(kind: CellKind) -> list[int]:
    """Order of a kind's nodes that reverses its orientation: ξ ↦ 1 − ξ on lines, (ξ, η) ↦ (η, ξ) else."""
    mirrored = 1 - kind.nodes if kind.dim == 1 else kind.nodes.flip(1)
    return torch.cdist(mirrored, kind.nodes).argmin(1).tolist()


def _volume(complex_: Complex) -> float:
    """∮ x·n / D over a surface, signed; about its middle, so that nothing cancels."""
    D, total = complex_.X.shape[1], 0.0
    X = complex_.X - complex_.X.mean(0)
    for block in complex_.blocks:
        xi, w = block.kind.shape.rule(8)
        m = mapped(X, block, xi)
        total += float(((m.x * outward(m.J)).sum(2) * measure(m.J) * w).nan_to_num(0.0).sum())
    return total / D


def _check_closed(complex_: Complex) -> None:
    """Every rim of a cell is that of exactly one other, run through the other way."""
    V = len(complex_.X)
    if complex_.dim == 1:
        starts = torch.cat([b.nodes[:, 0] for b in complex_.blocks])
        forth, back = starts, torch.cat([b.nodes[:, 1] for b in complex_.blocks])
    else:
        rims = torch.cat([b.nodes[:, list(e)] for b in complex_.blocks for e in b.kind.shape.edges])
        forth, back = rims[:, 0] * V + rims[:, 1], rims[:, 1] * V + rims[:, 0]
    what = "ends" if complex_.dim == 1 else "edges"
    either = torch.unique(torch.minimum(forth, back) if complex_.dim > 1 else forth)
    single = int((~torch.isin(forth, back)).sum())
    if single:
        both = int(torch.isin(forth, forth[~torch.isin(forth, back)]).sum()) - single
        how = "neighbours turn in opposite directions: orient the surface" if both else "close its holes"
        raise ProblemError(f"the surface mesh does not enclose a volume: {single} of its {len(either)} {what} have no "
                           f"neighbour that continues them; {how}")
    if len(torch.unique(forth)) < len(forth):
        many = len(forth) - len(torch.unique(forth))
        raise ProblemError(f"the surface mesh does not enclose a volume: {many} {what} "
                           "belong to more than two cells; take it apart there")
