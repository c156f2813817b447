"""Small problems and a quick way to the command line, for the tests of commands, runs and errors."""

from __future__ import annotations

from pathlib import Path

import torch

from sciml import Box, Dirichlet, Equation, Observations, Problem, Unknown
from sciml.cli.main import main

HEAT = '''"""Heat equation.

    u_t = k u_xx
"""
import torch
from math import pi
from sciml import *

k = 0.1

def heat(u):
    return u.t - k * u.xx

problem = Problem(
    domain=Box(x=(0, 1), t=(0, 1)),
    unknowns="u",
    conditions=[Equation(heat), Initial(u=lambda x: torch.sin(pi * x)), Dirichlet(u=0.0, on=["x-", "x+"])],
    reference=dict(u=lambda x, t: torch.exp(-k * pi**2 * t) * torch.sin(pi * x)),
    defaults=dict(points=60, model=dict(width=6, depth=2)),
)
'''
SMALL = dict(model=dict(width=6, depth=2), points=60)


def write(folder: Path, text: str = HEAT, name: str = "heat.py") -> Path:
    """A problem file in a folder."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def command(*arguments: object) -> int:
    """Exit code of a `sciml` command run in this process."""
    try:
        return main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def inverse() -> Problem:
    """k u_xx = −k₀ sin x with k unknown, from values of u; k₀ = 0.5."""
    x = torch.linspace(0, torch.pi, 20, dtype=torch.float64)
    return Problem(
        domain=Box(x=(0, torch.pi)), unknowns="u", parameters=dict(k=Unknown(0.2, bounds=(0.01, 2.0))),
        conditions=[Equation(lambda u, x, k: k * u.xx + 0.5 * torch.sin(x)), Dirichlet(u=0.0),
                    Observations(at=dict(x=x), u=torch.sin(x))],
        reference=dict(u=lambda x: torch.sin(x), k=0.5))
