"""Samplers: which points each condition is asked to hold at, step after step.

A sampler works on a `Scene`: it places points for every condition that has none of its own, and replaces them between
steps. Most decide condition by condition (`RegionSampler`); some choose among all conditions at once. Points are always
new tensors, drawn with the scene's generator on its device, so that a graph that holds the old ones stays valid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from ..errors import ProblemError
from ..points import Points
from ..problem import Block
from .scene import Magnitude, Scene


class Sampler(ABC):
    """Draws and redraws the points of all conditions.

    `name` is that of the registry. `reads` says whether the sampler wants the residuals that first-order training
    computes anyway, `weighs` whether it sets the weights of points, `grows` whether their number changes. `cheap`
    and `dear` are options unless given in runs of first-order stages alone, whose steps are cheap next to a redraw and
    forget their points, and in the others.

    Args:
        every: Steps between redraws; 0 keeps the first points.
    """

    name = "sampler"
    reads = False
    weighs = False
    grows = False
    cheap: Mapping[str, int] = {}
    dear: Mapping[str, int] = {}

    def __init__(self, every: int = 10):
        self.demand(every >= 0, "every", every, "0 (never) or a number of steps")
        self.every = int(every)

    def demand(self, true: bool, option: str, value: object, what: str) -> None:
        """Raises a `ProblemError` about an option that is not `what` it must be."""
        if not true:
            raise ProblemError(f"{self.name}.{option}={value} must be {what}")

    def check(self, scene: Scene) -> None:  # noqa: B027  most samplers work everywhere
        """Refuses, or warns about, a problem that this sampler can do nothing with, before anything is drawn."""

    @abstractmethod
    def begin(self, scene: Scene) -> None:
        """Places the first points of every condition."""

    @abstractmethod
    def update(self, scene: Scene, step: int, progress: float) -> bool:
        """Brings the points up to date before a step.

        Args:
            scene: The conditions.
            step: Steps done.
            progress: Share of the whole budget that is used, in [0, 1].

        Returns:
            Whether any points changed.
        """

    def due(self, step: int) -> bool:
        """Whether points are replaced before the step after `step` steps."""
        return self.every > 0 and step > 0 and step % self.every == 0

    def extras(self) -> dict[str, float]:
        """Numbers for the reports; they may wait for the device."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What resume needs beside the points and the generator."""
        return {}

    def load_state_dict(self, scene: Scene, state: Mapping[str, Any]) -> None:  # noqa: B027  most hold nothing
        """Restores `state_dict`; points are in place by then."""


class RegionSampler(Sampler):
    """A sampler that decides for every condition by itself.

    Note:
        Fixed points are a trap for second-order methods: on the wave equation 1,500 fixed points let Gauss–Newton drive
        the loss from 5e4 to 7e-3 with an error of 70 %, the residual hiding between the points. Hence the default
        of 10 steps.
    """

    rule = "uniform"

    def begin(self, scene):
        for block in scene.blocks:
            scene.place(block, self.start(block.region, scene.counts[block.name], scene.generator, scene.view.dtype))

    def update(self, scene, step, progress):
        if not self.due(step):
            return False
        for block in scene.blocks:
            scene.place(block, self.renew(scene, block))
        return bool(scene.blocks)

    def renew(self, scene: Scene, block: Block) -> Points:
        """The points that replace those of a condition."""
        return self.redraw(scene.points(block), block.region, scene.generator, scene.magnitude(block))

    def start(self, region, n: int, generator: Generator, dtype: torch.dtype) -> Points:
        """The first points of a region that is meant to have n."""
        return region.sample(n, generator=generator, rule=self.rule, dtype=dtype, device=generator.device)

    @abstractmethod
    def redraw(self, points: Points, region, generator: Generator, magnitude: Magnitude) -> Points:
        """The points that replace `points`; `magnitude` gives |r| at any points, shape (N,)."""


def finite(sizes: Tensor) -> Tensor:
    """Sizes with zero for what is not finite: the loss reports those points, here they must not win everything."""
    return torch.where(torch.isfinite(sizes), sizes, 0.0)


def draw_without_replacement(density: Tensor, n: int, generator: Generator) -> Tensor:
    """Positions of n points drawn without replacement with p ∝ density, shape (n,), by Gumbel's top-n trick."""
    noise = torch.rand(len(density), generator=generator, dtype=density.dtype, device=density.device)
    keys = torch.log(density) - torch.log(-torch.log(noise.clamp(1e-300 if density.dtype == torch.float64 else 1e-38,
                                                                 1 - torch.finfo(density.dtype).eps)))
    return torch.topk(keys, n).indices
