"""Make reference files again: `python data/make.py burgers kdv`; without names, all of them."""

from __future__ import annotations

import sys
import time
from math import pi
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sciml.errors import SciMLError, look_up  # noqa: E402
from sciml.references import compute, save  # noqa: E402

HERE = Path(__file__).resolve().parent

# File stem: solver and the arguments that are stored with it, so that `recompute` makes the
# same numbers.
FILES = {
    "burgers": ("burgers", {"nu": 0.01 / pi, "points": 257, "outputs": 101}),
    "burgers_nu": (
        "burgers_nu",
        {"low": 0.01 / pi, "high": 0.1 / pi, "count": 5, "points": 129, "outputs": 51},
    ),
    "allen_cahn": ("allen_cahn", {"points": 257, "outputs": 101, "modes": 4096, "steps": 20}),
    "kdv": ("kdv", {"points": 257, "outputs": 101, "modes": 1024, "steps": 100}),
    "kuramoto_sivashinsky": (
        "kuramoto_sivashinsky",
        {"points": 257, "outputs": 101, "modes": 1024, "steps": 200},
    ),
    "lorenz": ("lorenz", {"start": [1.0, 1.0, 20.0], "final": 5.0, "outputs": 501}),
    "nonlinear_diffusion": ("nonlinear_diffusion", {"points": 41, "outputs": 17, "n": 128}),
    "plate_hole": ("plate_hole", {"young": 1.0, "poisson": 0.3, "levels": 2}),
    "bracket": ("bracket", {"young": 210.0, "poisson": 0.3, "levels": 2}),
    "step_re50": ("step_flow", {"Re": 50.0, "levels": 1}),
    "cylinder_re20": ("cylinder_flow", {"n": 5, "Re": 20.0}),
    "poisson_l_shape": ("poisson_l_shape", {"n": 32}),
    "lshape": ("lshape", {"n": 64}),
    "two_materials": ("two_materials", {"k": 100.0}),
    "heat_plate": ("heat_plate", {}),
    "drum": ("drum", {"count": 1}),
    "poisson_holes": ("poisson_holes", {"points": 81}),
    "cavity_re100": ("cavity", {"Re": 100.0, "lid": [1.0], "points": 129, "n": 56}),
    "well_finite": ("well_finite", {"V0": 50.0, "reach": 2.5, "points": 501, "count": 2}),
    "well_barrier": (
        "well_barrier",
        {"V0": 50.0, "left": 0.4, "right": 0.6, "points": 401, "count": 2},
    ),
}


def make(name: str) -> None:
    """Compute one file and replace it."""
    solver, arguments = look_up("reference file", name, FILES)
    print(f"{name:22s} ", end="", flush=True)
    began = time.perf_counter()
    grid = compute(solver, arguments)
    seconds = time.perf_counter() - began
    path = HERE / f"{name}.h5"
    save(path, grid, solver=solver, arguments=arguments, seconds=seconds)
    print(
        f"{seconds:6.1f} s  accuracy {grid.accuracy:.1e}  "
        f"{path.stat().st_size / 1024:5.0f} KiB",
        flush=True,
    )


def main(names: list[str]) -> int:
    try:
        for name in names:
            look_up("reference file", name, FILES)
        for name in names or FILES:
            make(name)
    except SciMLError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
