"""Monge–Ampère equation: the map that moves a mesh to a ring, without data (data-free mesh mover).

    m(ξ + ∇φ) det(I + ∇²φ) = θ   on (0, 1)²;   ∂φ/∂n = 0,   ∫ φ = 0,   m = 1 + a exp(−(|x − c|² − r²)² / s²),   θ = ∫ m

Points x = ξ + ∇φ(ξ) of an even grid get the density m, which is four times as high on the ring |x − c| = r as away from
it. φ + |ξ|²/2 is convex, so the map does not fold. `sciml.mesh.moving.displaced` applies it to a mesh.

Reference: Newton's method for a cosine series, `sciml.mesh.mover`. After Yu et al. (2024), arXiv:2312.05583, who learn
φ for many monitors from this residual; a ring as in Budd, Russell and Walsh (2015), doi:10.1016/j.jcp.2014.11.007.
"""
import torch

from sciml import Box, Equation, Integral, Neumann, Problem
from sciml.mesh.mover import equidistribute
from sciml.references import Grid

a, r, s, c = 3.0, 0.25, 0.06, 0.5
nodes = torch.linspace(0, 1, 65, dtype=torch.float64)


def monitor(x, y):
    return 1 + a * torch.exp(-(((x - c) ** 2 + (y - c) ** 2 - r**2) / s) ** 2)


middles = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
theta = float(monitor(middles[:, None], middles).mean())


def monge_ampere(phi, x, y):
    det = (1 + phi.xx) * (1 + phi.yy) - phi.xy**2
    return monitor(x + phi.x, y + phi.y) * det / theta - 1


def newton():
    moved = equidistribute(lambda X: monitor(X[:, 0], X[:, 1]), [(0, 1), (0, 1)], cells=96)
    phi = moved.potential(torch.cartesian_prod(nodes, nodes)).view(65, 65)
    return Grid(dict(x=nodes.numpy(), y=nodes.numpy()), dict(phi=phi.numpy()), "grid", 2e-7, "cosine series, 96²")


problem = Problem(
    title="Monge–Ampère equation",
    domain=Box(x=(0, 1), y=(0, 1)),
    unknowns="phi",
    conditions=[Equation(monge_ampere), Neumann(phi=0.0, weight=100), Integral(lambda phi: phi, weight=100)],
    reference=newton,
    defaults=dict(model=dict(width=20, depth=3), points=1500, sampler="sobol", time=60),
)
