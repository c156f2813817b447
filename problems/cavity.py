"""Lid-driven cavity: steady flow at Re = 100 in a square box whose lid slides.

    u·∇u + ∇p = Δu / Re,   ∇·u = 0   on (0, 1)²;   u = (1, 0) on the lid y = 1, else u = 0,   p(0, 0) = 0

Velocity jumps and p is infinite where the lid meets a wall, which no network follows. But the flow there is known:

    ψ = r g(θ) + Re r² f(θ) + …,   p = 2 (c cos θ + d sin θ) / (Re r) + k log r + …,   u = ψ_y,   v = −ψ_x

g is Taylor's scraper; f, its inertia, solves f‴ + 4f′ = k − 2g (d cos θ − c sin θ). Both corners' ψ and p, faded to the
other walls, are a lift that takes all boundary data. The terms left out are weighted down within 0.05 of a corner.

Reference: spectral Galerkin with the corner singularities removed, accurate to 6e-6 in u and v, and to 3e-5 in p
outside r < 0.1 of the lid's corners; at the corners themselves its p is arbitrary, and so is the lift's.
"""
from math import pi

import torch

from sciml import Box, Dirichlet, Equation, Pin, Problem, laplacian

c = 1 / (1 - pi**2 / 4)
b, d, z = 1 - c, -c * pi / 2, c * (1j - pi / 2)
m, n = -1j * z**2 / 16, (3 * z**2 - 4j * b * z) / 32  # f = Re (mθ² + nθ) exp 2iθ + A (1 − cos 2θ) + Bθ + C sin 2θ
q = m * pi**2 / 4 - n * pi / 2
B = (1j * q - m * pi / 2).real
A, C, k = (q.real + B * pi / 2) / 2, -(n.real + B) / 2, 4 * B - b * c


def corner(x, y, Re):
    X, Y = x + 1e-17, y - 1                                # the corner itself has θ = 0: it belongs to the lid
    r2, t = X**2 + Y**2 + 1e-18, torch.atan2(Y, X)
    f = A + B * t + (m.real * t**2 + n.real * t - A) * torch.cos(2 * t) + (
        C - m.imag * t**2 - n.imag * t) * torch.sin(2 * t)
    psi = b * Y + (c * X + d * Y) * t + Re * r2 * f * torch.exp(-25 * r2)
    return psi, 2 * (c * X + d * Y) / (Re * r2) + k * torch.log(r2) / 2


def corners(x, y, Re, fade=lambda s: s**2 * (3 - 2 * s)):
    left, right = corner(x, y, Re), corner(1 - x, y, -Re)  # mirrored, the lid moves backwards
    psi, p = (fade(y) * (fade(1 - x) * l + fade(x) * r) for l, r in zip(left, right, strict=True))
    return dict(u=psi.y, v=-psi.x, p=p)


def steady_flow(u, v, p, x, y, Re):
    r2 = (x * (1 - x)) ** 2 + (1 - y) ** 2
    weight = r2 / (r2 + 0.05**2)
    return {
        "momentum_x": weight * (u * u.x + v * u.y + p.x - laplacian(u) / Re),
        "momentum_y": weight * (u * v.x + v * v.y + p.y - laplacian(v) / Re),
        "continuity": weight * (u.x + v.y),
    }


problem = Problem(
    title="lid-driven cavity", domain=Box(x=(0, 1), y=(0, 1)), unknowns="u v p", parameters=dict(Re=100.0),
    conditions=[Equation(steady_flow), Dirichlet(u=1.0, v=0.0, on="y+", name="lid"),
                Dirichlet(u=0.0, v=0.0, on=["x-", "x+", "y-"], name="walls"), Pin(p=0.0, at=dict(x=0.0, y=0.0))],
    lift=corners, reference="cavity_re100.h5",
    defaults=dict(model=dict(width=16, depth=4), points=2000, sampler="sobol", time=120),
)
