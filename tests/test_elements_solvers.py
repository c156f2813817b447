"""Finite-element solvers: rates of convergence, exact solutions, and derivatives of solutions."""

from math import log2, pi

import pytest
import torch

from sciml.elements.diffusion import Heat, diffusion, heat
from sciml.elements.eigen import modes
from sciml.elements.elasticity import Material, elasticity, mises, stresses
from sciml.elements.flow import Flow, force_on, navier_stokes, stokes
from sciml.elements.forms import load, mass, stiffness
from sciml.elements.iterate import cg
from sciml.elements.nonlinear import nonlinear_diffusion
from sciml.elements.space import Space
from sciml.elements.sparse import solve
from sciml.errors import ProblemError, TrainingError
from sciml.mesh import Complex
from sciml.mesh.structured import box, quadratic, refined
from sciml.references.elements import channel

KINDS = {"triangle": (2, 6), "quad": (2, 4), "tetra": (3, 2), "hexahedron": (3, 2)}


def crooked(kind, n, levels=0):
    """The unit box with shifted inner nodes, refined."""
    dim = KINDS[kind][0]
    made = box([(0, 1)] * dim, (n,) * dim, kind)
    inner = ((made.X > 1e-9) & (made.X < 1 - 1e-9)).all(1)
    made = made.moved(made.X + inner[:, None] * 0.12 / n * torch.sin(37.0 * made.X + torch.arange(dim)))
    for _ in range(levels):
        made = refined(made)
    return made


def wave(*x):
    return torch.stack([torch.sin(pi * c / 2 + 0.3) for c in x]).prod(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, 2])
def test_the_l2_error_of_diffusion_falls_with_the_order_plus_one(kind, order):
    dim, n = KINDS[kind]
    errors = []
    for level in (1, 2):
        space = Space(crooked(kind, n, level), order)
        found = diffusion(space, source=lambda *x: dim * (pi / 2) ** 2 * wave(*x), neumann={
            "x+": lambda *x: pi / 2 / torch.tan(pi / 2 * x[0] + 0.3) * wave(*x)},
            dirichlet={s: wave for s in ("x-", "y-", "y+", "z-", "z+")[:2 * dim - 1]})
        errors.append(found.error("u", wave))
    assert log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.1)


def ring(radial, around, outer=5.0, turn=pi / 2):
    """Curved quadrilaterals between circles of radius 1 and `outer`; "x-" is the hole, "y-" and "y+" the cuts."""
    made = quadratic(box([(0, 1), (0, turn)], (radial, around), "quad"))
    r = outer ** made.X[:, 0]
    return made.moved(torch.stack([r * torch.cos(made.X[:, 1]), r * torch.sin(made.X[:, 1])], 1))


@pytest.mark.parametrize("order", [1, 2])
def test_the_rate_holds_on_the_curved_cells_of_a_ring(order):
    exact = lambda x, y: torch.exp(x / 2) * torch.cos(y / 2)
    errors = [diffusion(Space(ring(n, 2 * n, 2.0), order), dirichlet={"boundary": exact}).error("u", exact)
              for n in (4, 8)]
    assert log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.1)


def two_materials(n):
    plain = box([(0, 1), (0, 1)], (2 * n, n))
    centre = plain.X[plain.blocks[0].nodes].mean(1)[:, 0]
    groups = {"left": (centre < 0.5).nonzero()[:, 0], "right": (centre > 0.5).nonzero()[:, 0]}
    return Complex(plain.X, plain.blocks, groups, plain.surfaces)


def test_the_flux_is_continuous_where_the_conductivity_jumps():
    # k u' = q on both sides: u = q x / k₁, then u = 1 − q (1 − x) / k₂, and q = 2 k₁ k₂ / (k₁ + k₂)
    found = diffusion(Space(two_materials(3), 1), {"left": 1.0, "right": 10.0}, dirichlet={"x-": 0.0, "x+": 1.0})
    q = 2 * 10 / 11
    exact = lambda x, y: torch.where(x < 0.5, q * x, 1 - q * (1 - x) / 10)
    assert found.error("u", exact) < 1e-13                    # piecewise linear: exact up to rounding


def test_robin_data_transport_and_reaction_are_exact_for_quadratics():
    u = lambda x, y: x**2 - x * y + 2
    h, b, c, k = 3.0, (1.0, -2.0), 0.7, 1.5
    source = lambda x, y: -k * 2 + b[0] * (2 * x - y) - b[1] * x + c * u(x, y)
    outside = lambda x, y: u(x, y) + k * (2 * x - y) / h      # on x = 1
    found = diffusion(Space(crooked("triangle", 4), 2), k, source, dirichlet={"x-": u, "y-": u}, velocity=b, reaction=c,
                      neumann={"y+": lambda x, y: -k * x}, robin={"x+": (h, outside)})
    assert found.error("u", u) < 1e-12


def test_a_corner_belongs_to_the_region_named_first():
    space = Space(box([(0, 1), (0, 1)], (2, 2)), 1)
    corner = ((space.nodes[:, 0] == 0) & (space.nodes[:, 1] == 0)).nonzero()[0, 0]
    for first, second in (("x-", "y-"), ("y-", "x-")):
        found = diffusion(space, dirichlet={first: 1.0, second: 2.0})
        assert float(found["u"][corner]) == 1.0


def test_the_solution_has_the_gradient_that_differences_find_for_every_coefficient():
    space = Space(crooked("triangle", 2), 2)
    k = torch.linspace(1, 2, len(space.complex), dtype=torch.float64).requires_grad_()
    h = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def observed(k, h):
        u = diffusion(space, k, lambda x, y: x + y, dirichlet={"x-": 0.0}, robin={"x+": (h, 2.0)})["u"]
        return u[::3]
    assert torch.autograd.gradcheck(observed, (k, h))


def test_heat_is_of_second_order_in_time_with_moving_data():
    space = Space(crooked("triangle", 2), 2)
    u = lambda x, y, t: torch.exp(torch.as_tensor(-3.0 * t)) * (x**2 + y)
    rho, k, h = 1.3, 0.7, 2.0
    data = Heat(k, rho, lambda x, y, t: -3 * rho * u(x, y, t) - 2 * k * u(0 * x, 1 + 0 * y, t),
                dirichlet={"x-": u, "y-": u}, neumann={"y+": lambda x, y, t: k * u(0 * x, 1 + 0 * y, t)},
                robin={"x+": (h, lambda x, y, t: u(x, y, t) + 2 * k / h * u(0 * x, 1 + 0 * y, t))})
    errors = []
    for steps in (8, 16):
        found = heat(space, data, lambda x, y: u(x, y, 0.0), [0.0, 0.5, 1.0], steps)
        errors.append(float((found["u"][:, -1] - u(*space.nodes.unbind(1), 1.0)).abs().max()))
    assert found["u"].shape == (space.size, 3)
    assert log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_heat_damps_the_stiffest_modes_at_once():
    # Crank–Nicolson would leave the jump between initial and boundary values ringing with |amplification| → 1
    space = Space(box([(0, 1)], (200,)), 1)
    found = heat(space, Heat(dirichlet={"boundary": 0.0}), 1.0, [0.0, 0.1, 0.2], 2)
    assert float(found["u"][:, -1].min()) > -1e-3
    exact = 4 / pi * torch.sin(pi * space.nodes[:, 0]) * torch.exp(torch.tensor(-pi**2 * 0.2))
    assert float((found["u"][:, -1] - exact).abs().max()) < 0.05 * float(exact.max())        # of the time step


@pytest.mark.parametrize("order", [1, 2])
def test_eigenvalues_of_the_square_come_from_above_with_twice_the_order(order):
    exact = torch.tensor([2.0, 5.0, 5.0, 8.0], dtype=torch.float64) * pi**2
    gaps = []
    for n in (8, 16):
        values, found = modes(Space(box([(0, 1), (0, 1)], (n, n)), order), 4)
        gaps.append(values - exact)
        assert bool((values > exact).all())
        M = mass(found.spaces["u"])
        assert torch.allclose(found["u"].T @ (M @ found["u"]), torch.eye(4, dtype=torch.float64), atol=1e-9)
        first = torch.sin(pi * found.spaces["u"].nodes).prod(1) * 2
        assert float((found["u"][:, 0] - first).abs().max()) < 3 * float(gaps[-1][0])
    assert torch.log2(gaps[0] / gaps[1]).tolist() == pytest.approx([2 * order] * 4, abs=0.15)


def test_the_constant_is_a_mode_of_an_insulated_body():
    values, found = modes(Space(box([(0, 2), (0, 1)], (8, 4)), 2), 2, dirichlet=None)
    assert float(values[0]) == pytest.approx(0, abs=1e-9)
    assert float(values[1]) == pytest.approx(pi**2 / 4, rel=1e-3)
    assert torch.allclose(found["u"][:, 0], found["u"].new_tensor(0.5**0.5), atol=1e-9)


@pytest.mark.parametrize("kind, order", [("triangle", 1), ("quad", 2), ("tetra", 2)])
def test_a_patch_under_uniform_stress_is_exact(kind, order):
    dim = KINDS[kind][0]
    material = Material.of(2.0, 0.3)
    H = torch.tensor([[0.1, 0.3, -0.2], [0.2, -0.4, 0.1], [0.5, 0.2, 0.3]], dtype=torch.float64)[:dim, :dim]
    strain = (H + H.T) / 2
    sigma = material.lam * strain.trace() * torch.eye(dim, dtype=torch.float64) + 2 * material.mu * strain
    linear = [lambda *x, i=i: sum(float(H[i, j]) * x[j] for j in range(dim)) for i in range(dim)]
    space = Space(crooked(kind, 2), order)
    found = elasticity(space, material, dirichlet={"x-": tuple(linear)}, traction={
        f"{'xyz'[i]}{s}": tuple(float(sign * t) for t in sigma[i])
        for i in range(dim) for s, sign in (("-", -1), ("+", 1)) if (i, s) != (0, "-")})
    for name, exact in zip("uvw", linear, strict=False):
        assert float((found[name] - exact(*space.nodes.unbind(1))).abs().max()) < 1e-11
    recovered = stresses(found, material)
    assert torch.allclose(recovered["sxy"], sigma[0, 1].expand(space.size), atol=1e-9)
    if dim == 2:
        assert torch.allclose(recovered["szz"], (0.3 * sigma.trace()).expand(space.size), atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_displacements_converge_with_the_order_plus_one(order):
    lam, mu = 1.2, 0.8
    u, v = (lambda x, y: x**2 * y), (lambda x, y: y**3 - x)
    force = (lambda x, y: -(lam + mu) * 2 * y - mu * 2 * y, lambda x, y: -(lam + mu) * (2 * x + 6 * y) - mu * 6 * y)
    errors = []
    for level in (1, 2):
        found = elasticity(Space(crooked("triangle", 4, level), order), Material(lam, mu), force,
                           dirichlet={"boundary": (u, v)})
        errors.append(found.error("u", u) + found.error("v", v))
    assert log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.1)


def kirsch(x, y):
    """Stresses σ_xx, σ_yy, σ_xy of an infinite plate under unit tension along x with a hole of radius 1."""
    r2, t = x**2 + y**2, torch.atan2(y, x)
    rr = (1 - 1 / r2) / 2 + (1 - 4 / r2 + 3 / r2**2) * torch.cos(2 * t) / 2
    tt = (1 + 1 / r2) / 2 - (1 + 3 / r2**2) * torch.cos(2 * t) / 2
    rt = -(1 + 2 / r2 - 3 / r2**2) * torch.sin(2 * t) / 2
    c, s = torch.cos(t), torch.sin(t)
    return c * c * rr + s * s * tt - 2 * s * c * rt, s * s * rr + c * c * tt + 2 * s * c * rt, \
        s * c * (rr - tt) + (c * c - s * s) * rt


def test_the_stress_at_a_hole_is_three_times_the_tension():
    made = ring(12, 16)
    pull = (lambda x, y: (kirsch(x, y)[0] * x + kirsch(x, y)[2] * y) / 5,
            lambda x, y: (kirsch(x, y)[2] * x + kirsch(x, y)[1] * y) / 5)
    for plane in ("stress", "strain"):                        # stresses do not depend on it
        material = Material.of(10.0, 0.3, plane)
        space = Space(made, 2)
        found = elasticity(space, material, dirichlet={"y-": (None, 0.0), "y+": (0.0, None)}, traction={"x+": pull})
        s = stresses(found, material)
        top = (space.nodes - torch.tensor([0.0, 1.0])).norm(dim=1).argmin()
        assert float(s["sxx"][top]) == pytest.approx(3.0, rel=0.02)
        assert float(s["sxx"].max()) == pytest.approx(3.0, rel=0.02)
        for name, i in (("sxx", 0), ("syy", 1), ("sxy", 2)):
            assert s.error(name, lambda x, y, i=i: kirsch(x, y)[i]) < 0.015      # stresses converge as h²


def test_von_mises_of_pure_shear_and_of_pressure():
    shear = torch.zeros(3, 3, dtype=torch.float64)
    shear[0, 1] = shear[1, 0] = 2.0
    assert float(mises(shear)) == pytest.approx(2 * 3**0.5)
    assert float(mises(5 * torch.eye(3, dtype=torch.float64))) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("kind", ["triangle", "quad"])
def test_stokes_velocity_and_pressure_converge_with_orders_three_and_two(kind):
    u, v = (lambda x, y: torch.cos(x) * torch.sin(y) * 2), (lambda x, y: -torch.sin(x) * torch.cos(y) * 2)
    mean = float(torch.sin(torch.tensor(1.0, dtype=torch.float64)))           # of cos x on (0, 1)
    p = lambda x, y: torch.cos(x) + y - mean - 0.5
    force = (lambda x, y: 2 * u(x, y) - torch.sin(x), lambda x, y: 2 * v(x, y) + 1)
    errors = []
    for level in (1, 2):
        found = stokes(Flow(crooked(kind, 4, level), 1.0, {"boundary": (u, v)}, force))
        errors.append((found.error("u", u) + found.error("v", v), found.error("p", p)))
        assert abs(found.integral("p")) < 1e-12
    rates = [log2(a / b) for a, b in zip(*errors, strict=True)]
    assert rates[0] == pytest.approx(3, abs=0.1)
    assert 1.8 < rates[1] < 3.1                              # at least two; on regular meshes it converges faster


def test_the_kovasznay_flow_converges_with_an_open_outlet():
    nu = 1 / 40
    k = 1 / (2 * nu) - (1 / (4 * nu**2) + 4 * pi**2) ** 0.5
    u = lambda x, y: 1 - torch.exp(k * x) * torch.cos(2 * pi * y)
    v = lambda x, y: k / (2 * pi) * torch.exp(k * x) * torch.sin(2 * pi * y)
    errors = []
    for n in (8, 16):
        made = box([(-0.5, 1.0), (-0.5, 1.5)], (n, n), "quad")
        found = navier_stokes(Flow(made, nu, {"boundary": (u, v)}))
        assert found.numbers["residual"] < 1e-10
        errors.append(found.error("u", u))
    assert log2(errors[0] / errors[1]) > 2.8


def test_channel_flow_is_exact_with_its_pressure():
    nu, L = 0.05, 3.0
    made = box([(0, L), (0, 1)], (6, 4))
    u = lambda x, y: 4 * y * (1 - y)
    for solver in (stokes, navier_stokes):
        flow = Flow(made, nu, {"y-": (0.0, 0.0), "y+": (0.0, 0.0), "x-": (u, 0.0), "x+": (None, 0.0)})
        found = solver(flow)
        assert found.error("u", u) < 1e-10
        assert found.error("p", lambda x, y: 8 * nu * (L - x)) < 1e-9


def test_a_moving_wall_feels_the_shear_of_the_fluid_below_it():
    nu, L = 0.05, 3.0
    u = lambda x, y: y
    for solver in (stokes, navier_stokes):
        flow = Flow(box([(0, L), (0, 1)], (6, 4)), nu, {"boundary": (u, 0.0)})
        assert force_on(flow, solver(flow), "y+").tolist() == pytest.approx([-nu * L, 0], abs=1e-12)


def test_taylor_and_green_vortices_are_held_by_their_force():
    nu = 0.02
    u, v = (lambda x, y: -torch.cos(x) * torch.sin(y)), (lambda x, y: torch.sin(x) * torch.cos(y))
    p = lambda x, y: -(torch.cos(2 * x) + torch.cos(2 * y)) / 4
    force = (lambda x, y: 2 * nu * u(x, y), lambda x, y: 2 * nu * v(x, y))
    made = box([(0, pi), (0, pi)], (12, 12))
    found = navier_stokes(Flow(made, nu, {"boundary": (u, v)}, force), ramp=(0.5, 1.0))
    assert found.error("u", u) < 2e-3
    assert found.error("p", p) < 2e-2


def test_newtons_method_waits_for_picards_where_it_would_diverge():
    flow = Flow(channel(3), 2e-4, {"cylinder": (0.0, 0.0), "walls": (0.0, 0.0),       # Re = 100
                                   "inlet": (lambda x, y: 1.2 * y * (0.41 - y) / 0.41**2, 0.0)})
    assert navier_stokes(flow).numbers["residual"] < 1e-10
    with pytest.raises(TrainingError, match=r"after 2 steps; refine the mesh"):
        navier_stokes(flow, steps=2)


def test_conjugate_gradients_find_what_factors_find():
    space = Space(crooked("tetra", 3), 2)
    A = stiffness(space) + mass(space)
    b = torch.stack([load(space, 1.0), load(space, lambda x, y, z: x * y)], 1)
    found = cg(A, b, tolerance=1e-12)
    assert torch.allclose(found.x, solve(A, b), atol=1e-11)
    with pytest.raises(TrainingError, match="after 3 iterations"):
        cg(A, b, steps=3)


@pytest.mark.parametrize("order", [1, 2])
def test_nonlinear_diffusion_converges_by_newtons_method(order):
    # u = e^w with w = x/2 + y/3 and k = 1 + u²: ∇·(k∇u) = |∇w|² (u + 3u³); part of the source is a reaction, −u³
    g = 1 / 4 + 1 / 9
    u = lambda x, y: torch.exp(x / 2 + y / 3)
    errors = []
    for level in (1, 2):
        found = nonlinear_diffusion(
            Space(crooked("triangle", 3, level), order), lambda u, x, y: 1 + u**2,
            lambda v, x, y: -v**3 + u(x, y) ** 3 - g * (u(x, y) + 3 * u(x, y) ** 3),
            dirichlet={s: u for s in ("x-", "y-", "y+")}, neumann={"x+": lambda x, y: (1 + u(x, y) ** 2) * u(x, y) / 2})
        errors.append(found.error("u", u))
        assert found.numbers["residual"] < 1e-10 and found.numbers["steps"] < 12
    assert log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.1)
    with pytest.raises(TrainingError, match="Newton's method for nonlinear diffusion"):
        nonlinear_diffusion(Space(crooked("triangle", 2), 1), lambda u, x, y: 1 + u**2, steps=1,
                            dirichlet={"x-": 1.0, "x+": 3.0})


def test_values_anywhere_are_those_of_the_polynomials():
    pytest.importorskip("sciml.mesh.locate")
    u = lambda x, y: x**2 - x * y
    space = Space(crooked("quad", 3), 2)
    found = diffusion(space, source=-2.0, dirichlet={"boundary": u})
    X = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found.at(X)["u"], u(*X.unbind(1)), atol=1e-4)
    assert torch.isnan(found.at(X + 5)["u"]).all()
    assert torch.allclose(found.gradients_at(X)["u"][:, 1], -X[:, 0], atol=0.02)


def test_what_is_missing_or_wrong_gets_a_sentence():
    space = Space(box([(0, 1), (0, 1)], (2, 2)), 1)
    with pytest.raises(ProblemError, match="known up to a constant"):
        diffusion(space)
    with pytest.raises(ProblemError, match="expected a pair"):
        diffusion(space, robin={"x+": 3.0})
    with pytest.raises(ProblemError, match="unknown region 'left'"):
        diffusion(space, dirichlet={"left": 0.0})
    with pytest.raises(ProblemError, match="a tuple of 2 components"):
        elasticity(space, Material(1.0, 1.0), dirichlet={"x-": 0.0})
    with pytest.raises(ProblemError, match=r"has shape \(1, 3\) at 3 points"):
        diffusion(space, dirichlet={"x-": lambda x, y: x[None]})
    with pytest.raises(ProblemError, match="every coefficient is given"):
        diffusion(Space(box([(0, 1), (0, 1)], (1, 1)), 1), dirichlet={"boundary": 0.0})
    with pytest.raises(ProblemError, match="unknown plane 'stres'; did you mean 'stress'"):
        Material.of(1.0, 0.3, "stres")
    with pytest.raises(ProblemError, match=r"0.5 is not in \(−1, ½\)"):
        Material.of(1.0, 0.5)
    with pytest.raises(ProblemError, match="must end at 1"):
        navier_stokes(Flow(space.complex, 1.0, {"boundary": (0.0, 0.0)}), ramp=(0.5,))
    with pytest.raises(ProblemError, match="refine the mesh"):
        modes(space, 4)
    with pytest.raises(TrainingError, match="singular"):
        elasticity(space, Material(1.0, 1.0), dirichlet={"x-": (None, None)})
