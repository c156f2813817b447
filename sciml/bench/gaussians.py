"""Gaussian fields on the problems of the suite, beside the recipe of each, a network's for most.

Fields on lattices are classical numerics, collocation with radial functions, inside the same problem files; the table
says what they are worth where a solution is smooth and known to be resolved by the lattice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from .row import Row

LATTICE = {"model": "gaussian"}
METRIC = {**LATTICE, "model.centres": 14, "model.overlap": 1.2, "model.ghosts": 2, "model.covariance": "full",
          "refine": "metric", "refine.count": 772, "refine.rounds": 3}
MANY = {**LATTICE, "model.centres": 80, "model.overlap": 1.2, "points": 16000}
ROWS = (
    *(Row(problem, 60, target, label=label, method="gaussian", options=LATTICE) for problem, target, label in (
        ("helmholtz", 1e-8, "Helmholtz (4, 1)"), ("poisson", None, "Poisson"), ("heat", None, "heat"),
        ("wave", None, "wave"), ("convection", None, "convection, β = 30"), ("beam", None, "Euler–Bernoulli beam"),
        ("klein_gordon", None, "Klein–Gordon, cubic"), ("kovasznay", None, "Kovasznay flow"))),
    Row("cavity", 60, None, unknowns=("u", "v"), label="cavity, Re = 100, u and v", method="gaussian",
        options=LATTICE),
    Row("klein_gordon2d", 120, 2e-5, label="Klein–Gordon, 2-D, ten periods", method="gaussian", options=LATTICE),
    Row("klein_gordon2d", 1800, 5.5e-3, label="Klein–Gordon, 2-D, PIG's Gaussians by Gauss–Newton",
        method="pig-gauss-newton", options={"model": "pig", "optimizer": "gauss-newton", "points": 4096, "steps": 80,
                                            "dtype": "float64", "sampler": "sobol", "sobol.every": 5}),
    Row("klein_gordon2d", 1800, 5.5e-3, label="Klein–Gordon, 2-D, PIG as published (Adam)", method="pig",
        options={"model": "pig", "dtype": "float32", "steps": 6000}),
    Row("helmholtz", 300, None, label="Helmholtz (4, 1), 80²", method="many", options=MANY),
    Row("helmholtz", 300, None, label="Helmholtz (4, 1), 80², that end at 5 scales", method="many-cutoff",
        options={**MANY, "model.cutoff": 5.0}),
    Row("lorenz", 60, None, unknowns=("x", "y", "z"), label="Lorenz, 20 intervals of time, one after the other",
        method="slabs"),
    Row("lorenz", 60, None, unknowns=("x", "y", "z"), label="Lorenz, as many at once", method="once",
        options={"model.slabs": 1, "model.centres": 600}),
    Row("peak", 60, None, label="peak, Gaussians that split", method="splat", options={"refine.most": 729}),
    Row("peak", 60, None, label="peak, as many on a lattice", method="lattice",
        options={"refine": "none", "model.centres": 27, "points": 2200, "balance": "ntk"}),
    Row("front", 240, None, label="front, Gaussians laid out by a metric", method="metric"),
    Row("front", 120, None, label="front, as many on a lattice", method="lattice",
        options={"refine": "none", "model.centres": 28, "model.overlap": 1.3, "model.ghosts": 3, "points": 2352,
                 "balance": "ntk"}),
    Row("corner", 240, None, label="corner, Gaussians that split", method="splat"),
    Row("corner", 120, None, label="corner, as many on a lattice", method="lattice",
        options={"refine": "none", "model.centres": 28, "model.overlap": 1.3, "model.ghosts": 3, "points": 1920,
                 "balance": "ntk"}),
    Row("poisson_holes", 240, None, label="four holes, Gaussians laid out by a metric", method="metric",
        options=METRIC),
    Row("poisson_holes", 120, None, label="four holes, rings of Gaussians around them", method="rings",
        options={**LATTICE, "model.centres": 18, "model.overlap": 1.5, "model.ghosts": 3, "model.rings": 16}),
    Row("poisson_holes", 120, None, label="four holes, as many on a lattice", method="lattice",
        options={**LATTICE, "model.centres": 28, "model.overlap": 1.0, "model.ghosts": 2}),
    Row("helmholtz100", 30, 1e-5, label="Helmholtz (10, 10)", method="kronecker", options={"model.centres": 60},
        overrides={"a1": 10.0, "a2": 10.0}),
    Row("helmholtz100", 30, 5e-6, label="Helmholtz (100, 100)", method="kronecker"),
    *(Row("poisson_multiscale", 60, 1e-4, label=f"Poisson, 1-D, {solution}",
          method="kronecker", overrides={"case": case})
      for case, solution in enumerate(("sin 100x", "sin 6x cos 100x", "x sin 200x"), 1)),
    Row("poisson_multiscale2d", 60, 1e-4, label="Poisson, 2-D, sin 100x sin 100y", method="kronecker"))


def table(device: str, out: Path, recipes: Iterable[Row]) -> str:
    """Markdown of the rows that have results.

    Args:
        recipes: Rows of the problems' own recipes, which stand beside them.
    """
    lines = ["| problem | model, optimizer | functions | steps | seconds | median error | smallest – largest | target "
             "| seeds | its own recipe | seconds | error |", "|---" * 12 + "|"]
    own = {row.name: row for row in recipes if not row.method}
    for row in ROWS:
        found = row.results(device, out)
        if not found:
            continue
        size = [f["error"] for f in found]
        beside = own[row.name].results(device, out) if row.name in own else []
        recipe = "| – | – | – |" if not beside else \
            (f"| {beside[0]['optimizer']} | {median(f['seconds'] for f in beside):.0f} | "
             f"{median(f['error'] for f in beside):.1e} |")
        lines.append(
            f"| {row.label} | {found[0]['model']}, {found[0]['optimizer']} | {found[0]['parameters']:,} | "
            f"{median(f['steps'] for f in found):.0f} | {median(f['seconds'] for f in found):.1f} | "
            f"**{median(size):.1e}** | {min(size):.1e} – {max(size):.1e} | "
            f"{'–' if row.target is None else f'{row.target:.0e}'} | {len(found)} {recipe}")
    return "\n".join(lines) if len(lines) > 2 else ""
