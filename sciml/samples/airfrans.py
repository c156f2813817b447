"""AirfRANS: incompressible Reynolds-averaged flows around NACA aerofoils; its files, splits, forces and scores.

    ROOT/NAME/NAME_internal.vtu    U, p, nut, implicit_distance at the points of the volume
    ROOT/NAME/NAME_aerofoil.vtp    U, p, nut, Normals at the points of the aerofoil
    ROOT/manifest.json             lists of names: full_train, full_test, scarce_train, reynolds_train, …

Source: Bonnet, Mazari, Cinnella & Gallinari (2022), arXiv:2212.07564. Values published with the conference version were
changed later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import ProblemError, look_up
from .vtkxml import Piece, read_vtk

VISCOSITY = 1.56e-5
TASKS = {"full": ("full_train", "full_test"), "scarce": ("scarce_train", "full_test"),
         "reynolds": ("reynolds_train", "reynolds_test"), "aoa": ("aoa_train", "aoa_test")}
INPUTS = ("x", "y", "U_x", "U_y", "distance", "n_x", "n_y")
OUTPUTS = ("u", "v", "p", "nut")


@dataclass(frozen=True)
class Flight:
    """What a case's name says, as ``airFoil2D_SST_43.597_5.932_3.551_3.1_1.0_18.252``.

    Args:
        speed: U∞ in m/s.
        angle: Angle of attack α in radians.
        digits: Of the NACA profile.
    """

    speed: float
    angle: float
    digits: tuple[float, ...]

    @staticmethod
    def of(name: str) -> Flight:
        """From the name.

        Raises:
            ProblemError: The name is of another form.
        """
        parts = name.split("_")
        try:
            return Flight(float(parts[2]), math.radians(float(parts[3])), tuple(float(p) for p in parts[4:-1]))
        except (IndexError, ValueError) as error:
            raise ProblemError(f"{name!r} is no name of AirfRANS; expected airFoil2D_SST_speed_angle_digits… with "
                               "numbers") from error


@dataclass(frozen=True, eq=False)
class Case:
    """One flow.

    Args:
        name: Of the case.
        flight: Speed and angle.
        volume: The internal mesh.
        aerofoil: Its wall.
    """

    name: str
    flight: Flight
    volume: Piece
    aerofoil: Piece

    @cached_property
    def X(self) -> Tensor:
        """Points (N, 2), float64."""
        return torch.as_tensor(self.volume.X[:, :2], dtype=torch.float64)

    @cached_property
    def wall(self) -> Tensor:
        """Mask (N,) of the points on the aerofoil, where the velocity's first component is exactly 0."""
        return torch.as_tensor(self.volume.points["U"][:, 0] == 0)

    @cached_property
    def nearest(self) -> Tensor:
        """The point of the volume at each point of the aerofoil, shape (S,)."""
        tree = cKDTree(self.volume.X[:, :2])
        return torch.as_tensor(tree.query(self.aerofoil.X[:, :2])[1])

    def inputs(self) -> Tensor:
        """`INPUTS` at the points, shape (N, 7).

            x, y, U∞ cos α, U∞ sin α, −implicit_distance, n = −Normals (0 off the wall)
        """
        found = torch.zeros(len(self.X), len(INPUTS), dtype=torch.float64)
        found[:, :2] = self.X
        found[:, 2] = self.flight.speed * math.cos(self.flight.angle)
        found[:, 3] = self.flight.speed * math.sin(self.flight.angle)
        found[:, 4] = -torch.as_tensor(self.volume.points["implicit_distance"])
        at = torch.as_tensor(cKDTree(self.aerofoil.X[:, :2]).query(self.X[self.wall].numpy())[1]).long()
        found[self.wall, 5:] = -torch.as_tensor(self.aerofoil.points["Normals"][:, :2], dtype=torch.float64)[at]
        return found

    def targets(self) -> Tensor:
        """`OUTPUTS` at the points: U_x, U_y, p, ν_t; shape (N, 4)."""
        data = self.volume.points
        columns = [data["U"][:, 0], data["U"][:, 1], data["p"], data["nut"]]
        return torch.stack([torch.as_tensor(c, dtype=torch.float64) for c in columns], 1)

    def force(self, fields: Tensor) -> Tensor:
        """F = ∮ (τ n − p n) dl on the aerofoil, τ = 2ν (S − tr S/3 I), n out of the body; shape (2,).

        Args:
            fields: U_x, U_y, p, … at the points, shape (N, ≥3).
        """
        segments, normals = self._contour
        G = gradients(self.volume, fields[:, :2])[self.nearest]                 # ∂U_i/∂x_j
        S = (G + G.transpose(1, 2)) / 2
        trace = S.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        tau = 2 * VISCOSITY * (S - trace / 3 * torch.eye(2, dtype=S.dtype))
        sigma = tau - fields[self.nearest, 2][:, None, None] * torch.eye(2, dtype=S.dtype)
        return torch.einsum("eij,ej->i", sigma[segments].mean(1), normals)

    def coefficients(self, fields: Tensor) -> Tensor:
        """(C_D, C_L) = 2 R_α F/U∞², shape (2,): the force along and across the flow."""
        F = self.force(fields)
        c, s = math.cos(self.flight.angle), math.sin(self.flight.angle)
        return 2 / self.flight.speed**2 * torch.stack([c * F[0] + s * F[1], c * F[1] - s * F[0]])

    @cached_property
    def _contour(self) -> tuple[Tensor, Tensor]:
        """Segments (E, 2) of the aerofoil and their normals times length, out of the body."""
        piece = self.aerofoil
        pairs = []
        for start, end in zip([0, *piece.ends[:-1]], piece.ends, strict=True):
            line = piece.cells[start:end]
            pairs += list(zip(line[:-1], line[1:], strict=True))
        segments = torch.as_tensor(np.array(pairs, dtype=np.int64).reshape(-1, 2))
        X = torch.as_tensor(piece.X[:, :2], dtype=torch.float64)
        along = X[segments[:, 1]] - X[segments[:, 0]]
        normals = torch.stack([along[:, 1], -along[:, 0]], 1)
        outward = -torch.as_tensor(piece.points["Normals"][:, :2], dtype=torch.float64)[segments].sum(1)
        normals = torch.where(((normals * outward).sum(1) < 0)[:, None], -normals, normals)
        area = (X[segments].mean(1) * normals).sum()                            # ∮ x·n dl = 2 |body|
        return segments, normals if area > 0 else -normals


def gradients(piece: Piece, values: Tensor) -> Tensor:
    """Nodal gradients: Green–Gauss in every polygon, area-weighted means at points; exact for linear functions.

        ∇v ≈ (1/|T|) Σ_edges ½ (v_p + v_q) n |e|

    Args:
        piece: Points and polygons in the plane z = const.
        values: Shape (N, C).

    Returns:
        Shape (N, C, 2).
    """
    X = torch.as_tensor(piece.X[:, :2], dtype=torch.float64)
    values, cells = values.to(torch.float64), torch.as_tensor(piece.cells)
    ends = torch.as_tensor(piece.ends)
    sizes = ends.diff(prepend=ends.new_zeros(1))
    own = torch.arange(len(ends)).repeat_interleave(sizes)
    after = torch.arange(1, len(cells) + 1)
    after[ends - 1] = ends - sizes
    p, q = cells, cells[after]
    normal = torch.stack([X[q, 1] - X[p, 1], X[p, 0] - X[q, 0]], 1)
    flux = torch.einsum("ec,ed->ecd", (values[p] + values[q]) / 2, normal)
    sums = flux.new_zeros(len(ends), values.shape[1], 2).index_add_(0, own, flux)  # −, like the area, where clockwise
    area = X.new_zeros(len(ends)).index_add_(0, own, ((X[p] + X[q]) / 2 * normal).sum(1) / 2)
    sums = sums * area.sign()[:, None, None]
    total = sums.new_zeros(len(X), values.shape[1], 2).index_add_(0, cells, sums[own])
    around = area.new_zeros(len(X)).index_add_(0, cells, area.abs()[own])
    return total / around.clamp(min=1e-300)[:, None, None]


def _rank(a: Tensor, b: Tensor) -> float:
    """Spearman's ρ: the correlation of ranks."""
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).to(torch.float64)
    return float(torch.corrcoef(ranks)[0, 1])


class AirfRANS:
    """The data set of one task.

    Args:
        root: Folder with manifest.json.
        task: "full", "scarce" (200 for training, the test of "full"), "reynolds" or "aoa".

    Attributes:
        splits: Names of the cases for "train", "valid" (the last tenth of the training list) and "test".

    Raises:
        ProblemError: No manifest, or another task.
    """

    def __init__(self, root: str | Path, task: str = "full"):
        self.root = Path(root)
        train, test = look_up("task of AirfRANS", task, TASKS)
        file = self.root / "manifest.json"
        if not file.is_file():
            raise ProblemError(f"there is no {file}; give the folder of AirfRANS that has manifest.json and the cases")
        lists: Mapping[str, list[str]] = json.loads(file.read_text(encoding="utf-8"))
        names = look_up("list in the manifest", train, dict(lists))
        kept = len(names) - len(names) // 10
        self.splits = {"train": names[:kept], "valid": names[kept:],
                       "test": look_up("list in the manifest", test, dict(lists))}

    def case(self, name: str) -> Case:
        """One flow, read from its files."""
        folder = self.root / name
        return Case(name, Flight.of(name), read_vtk(folder / f"{name}_internal.vtu"),
                    read_vtk(folder / f"{name}_aerofoil.vtp"))

    def score(self, predictions: Mapping[str, Tensor], std: Tensor) -> dict[str, float | list[float]]:
        """Errors as the paper reports them; velocity and ν_t of the predictions are set to 0 on the wall first.

        Args:
            predictions: U_x, U_y, p, ν_t by case, shape (N, 4), physical.
            std: Of the training targets, shape (4,): mean squared errors are of normalised fields.

        Returns:
            "volume" and "surface": mean squared errors by output, points off and on the wall; "drag", "lift": mean
            relative errors of C_D and C_L; "drag_rank", "lift_rank": Spearman's ρ over the cases (NaN below three).
        """
        volume, surface, found, true = [], [], [], []
        for name, given in predictions.items():
            case = self.case(name)
            fields = given.to(torch.float64).clone()
            fields[case.wall.nonzero()[:, 0][:, None], torch.tensor([0, 1, 3])] = 0
            square = ((fields - case.targets()) / std) ** 2
            volume.append(square[~case.wall].mean(0))
            surface.append(square[case.wall].mean(0))
            found.append(case.coefficients(fields))
            true.append(case.coefficients(case.targets()))
        F, T = torch.stack(found), torch.stack(true)
        relative = ((F - T).abs() / T.abs()).mean(0).tolist()
        rank = [_rank(F[:, i], T[:, i]) if len(F) > 2 else math.nan for i in (0, 1)]
        return {"volume": torch.stack(volume).mean(0).tolist(), "surface": torch.stack(surface).mean(0).tolist(),
                "drag": relative[0], "lift": relative[1], "drag_rank": rank[0], "lift_rank": rank[1]}
