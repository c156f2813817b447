"""A part with holes: a mesh, a weak form, and finite elements on the same mesh beside the network.

Heat enters through the holes, h (1 − u) per length, and leaves at the ends. A mesh file would do as well:
`Mesh("part.msh")`.
"""

from sciml import Box, Dirichlet, Disk, Mesh, Problem, Weak, solve
from sciml.elements.diffusion import diffusion
from sciml.elements.space import Space
from sciml.geometry.meshing import mesh_of

h = 5.0
left, right = Disk(center=(0.5, 0.5), radius=0.2), Disk(center=(1.4, 0.6), radius=0.25)
plate = Box(x=(0, 2), y=(0, 1)) - left.named("left") - right.named("right")
mesh = Mesh(mesh_of(plate, 0.1, order=2))


def elements():
    """The same problem by quadratic finite elements."""
    return diffusion(Space(mesh.complex, 2), dirichlet={"x-": 0.0, "x+": 0.0},
                     robin={"left": (h, 1.0), "right": (h, 1.0)})


problem = Problem(
    domain=mesh,
    unknowns="u",
    conditions=[
        Weak(lambda u, v: u.x * v.x + u.y * v.y, order=2,
             natural={hole: lambda u, v: h * (u - 1) * v for hole in ("left", "right")}),
        Dirichlet(u=0.0, on=["x-", "x+"]),
    ],
    reference=elements,
)


def main(steps: int = 25) -> float:
    """Relative difference between the network and the elements."""
    solution = solve(problem, steps=steps, optimizer="gauss-newton", model=dict(width=16, depth=3))
    error = solution.relative_l2()["u"]
    print(f"{mesh.complex}: difference to finite elements {error:.1e}, {solution.seconds:.1f} s")
    return error


if __name__ == "__main__":
    main()
