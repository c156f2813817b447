"""All reference solvers by name, and the check of a stored file by running its solver again."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import ProblemError, look_up
from .cavity import cavity
from .cole_hopf import burgers, burgers_nu
from .elements import (
    bracket,
    cylinder_flow,
    drum,
    heat_plate,
    lshape,
    plate_hole,
    poisson_holes_elements,
    poisson_l_shape,
    step_flow,
    two_materials,
)
from .elliptic import poisson_boltzmann
from .evolution import allen_cahn, gray_scott, kdv, kuramoto_sivashinsky
from .motion import lorenz
from .multipoles import poisson_holes
from .porous import nonlinear_diffusion
from .reference import Grid, load_with_origin, relative_l2
from .wells import well_barrier, well_finite, well_infinite

SOLVERS: dict[str, Callable[..., Grid]] = {
    "allen_cahn": allen_cahn,
    "bracket": bracket,
    "burgers": burgers,
    "burgers_nu": burgers_nu,
    "cavity": cavity,
    "cylinder_flow": cylinder_flow,
    "drum": drum,
    "gray_scott": gray_scott,
    "heat_plate": heat_plate,
    "kdv": kdv,
    "kuramoto_sivashinsky": kuramoto_sivashinsky,
    "lorenz": lorenz,
    "lshape": lshape,
    "nonlinear_diffusion": nonlinear_diffusion,
    "plate_hole": plate_hole,
    "poisson_boltzmann": poisson_boltzmann,
    "poisson_holes": poisson_holes,
    "poisson_holes_elements": poisson_holes_elements,
    "poisson_l_shape": poisson_l_shape,
    "two_materials": two_materials,
    "step_flow": step_flow,
    "well_barrier": well_barrier,
    "well_finite": well_finite,
    "well_infinite": well_infinite,
}


def compute(solver: str, arguments: dict) -> Grid:
    """Reference from the solver of that name.

    Args:
        solver: Name in `SOLVERS`.
        arguments: Its keyword arguments.

    Raises:
        ProblemError: No such solver, or it has no such argument.
    """
    run = look_up("reference solver", solver, SOLVERS)
    try:
        return run(**arguments)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ProblemError(f"reference solver {solver!r}: {error}.") from error


def recompute(path) -> tuple[Grid, dict]:
    """Run the solver of a stored reference again and compare.

    The solver runs at its resolution and at a coarser one, as it did for the file.

    Args:
        path: A file written by `save`.

    Returns:
        The new reference, and a report: solver, arguments, seconds, accuracy stated in the
        file, self_convergence of the new run (fine against coarse), and difference (new against
        stored, relative L2 by unknown).

    Raises:
        ProblemError: The file cannot be read, names no known solver, or has other nodes than
            its solver makes.
    """
    stored, origin = load_with_origin(path)
    began = time.perf_counter()
    fresh = compute(origin["solver"], origin["arguments"])
    seconds = time.perf_counter() - began
    if {k: v.shape for k, v in fresh.unknowns.items()} != {
        k: v.shape for k, v in stored.unknowns.items()
    }:
        raise ProblemError(
            f"reference file {str(path)!r} does not hold what solver {origin['solver']!r} "
            f"makes from its arguments; "
            "make the file again."
        )
    return fresh, {
        "solver": origin["solver"],
        "arguments": origin["arguments"],
        "seconds": seconds,
        "accuracy": stored.accuracy,
        "self_convergence": fresh.accuracy,
        "difference": {
            name: relative_l2(fresh.unknowns[name], stored.unknowns[name])
            for name in stored.unknowns
        },
    }
