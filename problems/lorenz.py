"""Lorenz' equations (1963): five units of time on the way to the butterfly, interval by interval.

    x' = 10 (y − x),   y' = x (28 − z) − y,   z' = x y − (8/3) z,   t ∈ (0, 5);   x(0) = y(0) = 1, z(0) = 20

Reference: DOP853, accurate to 2e-10 (relative L2). Newton's iteration for all times at once does not find it, since the
equations nearly hold along many curves; here are twenty intervals, each from the end of the one before.
"""
from sciml import Box, Equation, Initial, Problem


def lorenz(x, y, z):
    return x.t - 10 * (y - x), y.t - x * (28 - z) + y, z.t - x * y + 8 / 3 * z


problem = Problem(
    domain=Box(t=(0, 5)),
    unknowns="x y z",
    conditions=[Equation(lorenz), Initial(x=1.0, y=1.0, z=20.0, weight=100.0, points=1)],
    reference="lorenz.h5",
    defaults=dict(model=dict(name="gaussian", centres=30, slabs=20), constraints="soft", balance="fixed", points=1800,
                  time=30),
)
