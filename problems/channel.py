"""Flow through a channel with a random lower wall: from the wall to velocity and pressure.

    (u·∇)u − ν Δu + ∇p = 0,   div u = 0   between y = b(x) and y = 1, x ∈ (0, 4);   ν = 0.02 (Re = 50)
    u = 0 on the walls,   ν ∂_x u = (p, 0) at the outlet,
    u = (6 η (1 − η)/(1 − b), 0), η = (y − b)/(1 − b), at the inlet

b is a Gaussian random field of covariance 16 (−Δ + 25)⁻² with Neumann conditions, 8 cosines, so that the wall is level
at both ends. The body is charted from a box, x = r, y = b + s (1 − b). Our own family; operators on bodies that differ:
Li et al. (2023), arXiv:2207.05209.

Reference: Taylor–Hood elements on cells of nine nodes that bend with the wall (Taylor and Hood 1973,
doi:10.1016/0045-7930(73)90027-3).
"""

from sciml import Box, Dirichlet, Equation, GaussianRandomField, Problem, laplacian
from sciml.generators import Channel

nu = 0.02


def steady_flow(u, v, p):
    return {"momentum x": u * u.x + v * u.y + p.x - nu * laplacian(u),
            "momentum y": u * v.x + v * v.y + p.y - nu * laplacian(v),
            "continuity": u.x + v.y}


def outlet(u, v, p):
    return nu * u.x - p, nu * v.x


problem = Problem(
    domain=Box(r=(0, 4), s=(0, 1)),
    unknowns="u v p",
    inputs=dict(b=GaussianRandomField(kind="neumann", sigma=4.0, tau=5.0, alpha=2.0, modes=8, over="r")),
    chart=dict(x=lambda r: r, y=lambda s, b: b + s * (1 - b)),
    conditions=[
        Equation(steady_flow),
        Dirichlet(u=lambda s, b: 6 * s * (1 - s) / (1 - b), v=0.0, on="r-"),
        Dirichlet(u=0.0, v=0.0, on=["s-", "s+"]),
        Equation(outlet, on="r+"),
    ],
    reference=Channel(wall="b", velocity=("u", "v"), pressure="p", nu=nu),
    defaults=dict(
        model=dict(name="fno", modes=(16, 8), width=24),
        data=dict(grid=(65, 17), train=400, test=100), epochs=60, batch=20,
    ),
)
