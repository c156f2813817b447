"""Plates with random voids as samples on points, and on one uniform grid laid over the whole plate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..generators import Elasticity
from ..inputs import GaussianRandomField, RandomNumber
from ..inputs.waves import trigonometric
from ..learning.models import relative_errors
from ..operators.nuno import gathered
from ..operators.subdomains import Links, links
from ..samples import ArraySamples, Samples, SampleStore, make_samples

RAYS, LAYERS = 64, 16
SPLIT = {"train": 400, "test": 100}
NODES = {"o-grid": Elasticity(refine=2), "scattered": Elasticity(scatter="xi_seed", refine=2)}
LAWS = {"xi": GaussianRandomField("periodic", sigma=5.013, tau=3.0, alpha=1.0, modes=8,
                                  over=("theta",)).bind({"theta": (0.0, 2 * math.pi)}),
        "xi_seed": RandomNumber(0.0, 1.0)}


def plates(nodes: str, out: Path, split: dict[str, int] | None = None) -> SampleStore:
    """Samples of `Elasticity` on 64 × 16 nodes, made once and kept in a folder; both kinds have the same voids.

    Args:
        nodes: "o-grid" or "scattered" (other nodes for each void, in random order); both have their values from
            quadratic elements on four times the cells, 0.7 s a sample.
        out: Folder of the file.
        split: Numbers by name; None: 400 for training and 100 to test.
    """
    axes = {"theta": torch.arange(RAYS, dtype=torch.float64) * (2 * math.pi / RAYS),
            "layer": torch.linspace(0, 1, LAYERS, dtype=torch.float64)}
    return make_samples(out / f"elasticity-{nodes}.h5", LAWS, NODES[nodes], axes, split or SPLIT, 0)


def mirrored(samples: Samples, unknown: str = "mises") -> ArraySamples:
    """Samples and their mirror images x → 1 − x, θ → π − θ, which are solutions too; both are trained on.

    Numbers: the samples as they were, then the images of all, in the same order.
    """
    names = ["xi", "x", "y", "weight", unknown]
    held = samples.read(torch.arange(len(samples)), names, torch.float64)
    grids = names if held["x"].ndim == 3 else ["xi"]
    images = {name: unturned(values) if name in grids else values for name, values in held.items()}
    images["x"] = 1 - images["x"]
    fields = {name: torch.cat([held[name], images[name]]) for name in names}
    train = samples.indices("train")
    splits = {"train": torch.cat([train, len(samples) + train]), "test": samples.indices("test")}
    return ArraySamples(fields, ["xi"], samples.axes, splits=splits)


def unturned(values: Tensor) -> Tensor:
    """Values on rays (B, 64, …) as θ → π − θ puts them; twice is the identity."""
    return values[:, (RAYS // 2 - torch.arange(RAYS)) % RAYS]


class GlobalGrid:
    """Functions at points of the unit square on n × n nodes, and back, by linear interpolation.

        g = I u on Delaunay's triangles of the points (across the void too),   û = I′ g in the cells of the grid

    Args:
        samples: On points, with the void's "xi", "x" and "y".
        unknown: Name of the function.
        n: Nodes along each side.
    """

    def __init__(self, samples: Samples, unknown: str = "mises", n: int = 41):
        self.n = n
        held = samples.read(torch.arange(len(samples)), ["xi", "x", "y", unknown], torch.float64)
        B = len(samples)
        self.points = torch.stack([held[c].reshape(B, -1) for c in ("x", "y")], -1)
        self.values = held[unknown].reshape(B, -1)
        square = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
        found = [links(X, square, (n, n)) for X in self.points]
        self.links = Links(*(torch.cat(part) for part in zip(*found, strict=True)))
        on_grid = gathered(self.values[..., None], self.links.into, self.links.into_weights)[..., 0]
        fields = {"material": material(held["xi"].reshape(B, -1), n),
                  "gap": self.links.gap.reshape(B, n, n).numpy(), unknown: on_grid.reshape(B, n, n).numpy()}
        x = torch.linspace(0, 1, n, dtype=torch.float64)
        self.samples = ArraySamples(fields, ["material", "gap"], {"x": x, "y": x}, splits=samples.splits)

    def back(self, values: Tensor, index: Tensor) -> Tensor:
        """Values at the points of some of the samples, (B, points), from those on the grid, (B, n, n)."""
        return gathered(values.to(torch.float64).reshape(len(index), -1, 1), self.links.out[index],
                        self.links.out_weights[index])[..., 0]

    def floor(self, index: Tensor) -> Tensor:
        """Errors of interpolation alone, to the grid and back, (B,)."""
        held = torch.as_tensor(self.samples.read(index, ["mises"], torch.float64)["mises"])
        return relative_errors(self.back(held, index)[..., None], self.values[index][..., None])[:, 0]


def material(xi: Tensor, n: int) -> np.ndarray:
    """1 where there is material, 0 in the void, at n × n nodes of the square, (B, n, n), from ξ on equispaced rays."""
    x = torch.linspace(-0.5, 0.5, n, dtype=torch.float64)
    x, y = torch.meshgrid(x, x, indexing="ij")
    theta = torch.atan2(y, x).reshape(-1) % (2 * math.pi)
    r = 0.2 + 0.2 / (1 + (xi @ trigonometric(xi.shape[-1], 2 * math.pi, theta).T).exp())
    return (r.reshape(-1, n, n) <= torch.hypot(x, y)).double().numpy()
