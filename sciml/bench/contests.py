"""The problems of the race as a user of plain torch or of DeepXDE writes them, with DeepXDE's documented recipes.

The residuals are functions of a derivative `d("x")`, `d("xx")`, …, so that both peers solve the same equation. Recipes
are those of DeepXDE's examples (folder `examples/pinn_forward`) for the same or the nearest equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import pi
from typing import Any

from torch import Tensor

Derivative = Callable[[str], Tensor]


@dataclass(frozen=True)
class Contest:
    """One problem of the race.

    Args:
        problem: Name of the problem file that `sciml` solves.
        axes: Coordinates with their bounds; the last is "t" for evolution problems.
        residual: (lib, d, u, X) ↦ residual (N, 1), lib being torch.
        exact: Boundary and initial data, (lib, X) ↦ (N, 1); initial data alone if they vanish on the sides.
        speed: Whether u_t = 0 at t = 0 is a condition.
        layers, activation: Of DeepXDE's network.
        points: Interior, boundary and initial points.
        iterations: Of Adam, learning rate 1e-3.
        polish: Whether L-BFGS follows.
        special: What else the example does: "decay", "multiscale", "built-in".
        source: The example.
        note: How the example's equation differs from ours.
    """

    problem: str
    axes: Mapping[str, tuple[float, float]]
    residual: Callable[[Any, Derivative, Tensor, Tensor], Tensor]
    exact: Callable[[Any, Tensor], Tensor]
    layers: tuple[int, ...]
    points: tuple[int, int, int]
    iterations: int
    source: str
    speed: bool = False
    activation: str = "tanh"
    polish: bool = True
    special: tuple[str, ...] = field(default=())
    note: str = ""


def _burgers(lib, d, u, X):
    return d("t") + u * d("x") - 0.01 / pi * d("xx")


def _heat(lib, d, u, X):
    return d("t") - 0.4 * d("xx")


def _swing(lib, X):
    x, t = X[:, :1], X[:, 1:]
    return x * lib.cos(5 * pi * t) + (x * t) ** 3


def _klein_gordon(lib, d, u, X):
    x, t = X[:, :1], X[:, 1:]
    f = -25 * pi**2 * x * lib.cos(5 * pi * t) + 6 * x**3 * t - 6 * x * t**3 + _swing(lib, X) ** 3
    return d("tt") - d("xx") + u**3 - f


def _helmholtz(lib, d, u, X):
    q = (1 - 17 * pi**2) * lib.sin(4 * pi * X[:, :1]) * lib.sin(pi * X[:, 1:])
    return d("xx") + d("yy") + u - q


def _wave(lib, d, u, X):
    return d("tt") - 4 * d("xx")


def _string(lib, X):
    x, t = X[:, :1], X[:, 1:]
    return (lib.sin(pi * x) * lib.cos(2 * pi * t) + 0.5 * lib.sin(4 * pi * x) * lib.cos(8 * pi * t))


def _poisson(lib, d, u, X):
    return -d("xx") - d("yy") - 2 * pi**2 * lib.sin(pi * X[:, :1]) * lib.sin(pi * X[:, 1:])


def _zero(lib, X):
    return 0 * X[:, :1]


CONTESTS = {c.problem: c for c in (
    Contest("burgers", dict(x=(-1, 1), t=(0, 1)), _burgers, lambda lib, X: -lib.sin(pi * X[:, :1]),
            (20, 20, 20), (2540, 80, 160), 15000, "Burgers.py"),
    Contest("heat", dict(x=(0, 1), t=(0, 1)), _heat, lambda lib, X: lib.sin(pi * X[:, :1]),
            (20, 20, 20), (2540, 80, 160), 20000, "heat.py"),
    Contest("klein_gordon", dict(x=(0, 1), t=(0, 1)), _klein_gordon, _swing, (40, 40), (30000, 1500, 1500), 20000,
            "Klein_Gordon.py", speed=True, special=("decay",), note="there quadratic on (−1, 1) × (0, 10)"),
    Contest("helmholtz", dict(x=(-1, 1), y=(-1, 1)), _helmholtz, _zero, (150, 150, 150), (1600, 160, 0), 5000,
            "Helmholtz_Dirichlet_2d.py", activation="sin", polish=False, special=("built-in",),
            note="there (4, 4) modes on (0, 1)²; 10 points per wavelength"),
    Contest("wave", dict(x=(0, 1), t=(0, 1)), _wave, _string, (100, 100, 100), (360, 360, 360), 10000, "wave_1d.py",
            speed=True, polish=False, special=("multiscale",),
            note="there c = 10, modes 1 and 2, and a network that its PyTorch back end lacks"),
    Contest("poisson", dict(x=(0, 1), y=(0, 1)), _poisson, _zero, (50, 50, 50, 50), (1200, 120, 0), 50000,
            "Poisson_Lshape.py", note="there on an L, right-hand side 1"),
)}
