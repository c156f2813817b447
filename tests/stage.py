"""A scene without an objective, for tests of samplers: regions, and a residual that is a function of the points."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from sciml.sampling import Scene


def stage(regions, counts, size=None, seed=0, dtype=torch.float64, device="cpu", steps=None):
    """A scene of conditions on regions.

    Args:
        regions: Regions by the name of their condition; the first is that of the problem.
        counts: Points asked for, by name, or a number for all.
        size: |r| of points, shape (N,); None: 1 everywhere.
        seed: Of the generator.
        dtype: Of the points.
        device: Of the points.
        steps: Of the run.
    """
    first = next(iter(regions.values()))
    size = size or (lambda points: torch.ones_like(points.X[:, 0]))
    probe = first.sample(2**12, generator=torch.Generator().manual_seed(0), rule="sobol").X
    bounds = getattr(first, "bounds", tuple(zip(probe.amin(0).tolist(), probe.amax(0).tolist(), strict=True)))
    problem = SimpleNamespace(coordinates=tuple(first.names), region=SimpleNamespace(bounds=bounds),
                              setting=SimpleNamespace(breaks={}))
    view = SimpleNamespace(problem=problem, points={}, data={}, point_weights={}, shares={}, ceilings={}, recorded={},
                           recording=False, dtype=dtype, magnitude=lambda block: size)
    blocks = tuple(SimpleNamespace(name=n, region=r, kind="equation" if i == 0 else "dirichlet", combine="each",
                                   components=(n,)) for i, (n, r) in enumerate(regions.items()))
    view.blocks = list(blocks)
    counts = counts if isinstance(counts, dict) else dict.fromkeys(regions, counts)
    return Scene(view, blocks, counts, torch.Generator(device=device).manual_seed(seed), steps)


def play(sampler, scene, steps):
    """Begins and takes all updates up to a step; yields the points of the first condition after each."""
    sampler.check(scene)
    sampler.begin(scene)
    yield scene.points(scene.blocks[0])
    for step in range(steps):
        sampler.update(scene, step, step / steps)
        yield scene.points(scene.blocks[0])
