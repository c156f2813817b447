"""Batched generators against exact solutions, their own orders of convergence, and independent solvers."""

import math

import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import torch

from sciml.elements.discrete import Discrete
from sciml.elements.elasticity import Material, elasticity
from sciml.elements.flux import SineLaplacian, apply_diffusion, solve_diffusion
from sciml.elements.forms import elastic
from sciml.elements.space import Space
from sciml.errors import ProblemError, TrainingError
from sciml.generators import Burgers, Darcy, Elasticity, Vorticity
from sciml.generators.elasticity import between_rays, von_mises, weights
from sciml.generators.plate import areas, o_grid, scattered
from sciml.inputs import GaussianRandomField, RandomNumber
from sciml.inputs.waves import trigonometric

TAU = 2 * math.pi
SQUARE = {"x": (0.0, 1.0), "y": (0.0, 1.0)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def circle(n, length=1.0, names="x"):
    return {c: torch.arange(n, dtype=torch.float64) * (length / n) for c in names}


def nodes(n, names="xy"):
    return {c: torch.linspace(0, 1, n, dtype=torch.float64) for c in names}


def relative(found, exact):
    return float((found - exact).norm() / exact.norm())


def burgers_exact(x, t, nu=0.1, a=1.02):
    """Source: Cole–Hopf with φ = a + e^{−νt} cos x."""
    decay = math.exp(-nu * t)
    return 2 * nu * decay * x.sin() / (a + decay * x.cos())


def test_burgers_converges_with_order_four_to_the_exact_solution():
    axes = circle(256, TAU)
    u0 = burgers_exact(axes["x"], 0.0)[None]
    errors = []
    for steps in (25, 50, 100):
        u = Burgers(dt=1 / steps).solve({"u0": u0}, axes)["u"]
        errors.append(relative(u[0], burgers_exact(axes["x"], 1.0)))
    assert errors[0] < 4e-7
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(abs(order - 4) < 0.15 for order in orders), (errors, orders)


def test_burgers_records_every_time_and_takes_a_viscosity_for_each_instance():
    axes = circle(256, TAU)
    u0 = torch.stack([burgers_exact(axes["x"], 0.0, nu) for nu in (0.1, 0.2)])
    times = torch.tensor([0.0, 0.13, 0.5, 2.0])
    u = Burgers(nu="nu").solve({"u0": u0, "nu": torch.tensor([0.1, 0.2])}, axes, times)["u"]
    assert u.shape == (2, 256, 4) and torch.allclose(u[..., 0], u0, atol=1e-15)
    for i, nu in enumerate((0.1, 0.2)):
        for k, t in enumerate(times.tolist()):
            assert relative(u[i, :, k], burgers_exact(axes["x"], t, nu)) < 1e-7      # ν is float32
    alone = Burgers(nu=0.2).solve({"u0": u0[1:]}, axes, times)["u"]
    assert torch.allclose(alone[0], u[1], atol=1e-8)


def test_burgers_on_random_fields_states_its_error():
    law = GaussianRandomField("periodic", sigma=25.0, tau=5.0, alpha=2.0).bind({"x": (0.0, TAU)})
    xi = law.draw(4, seeded())
    found = Burgers().accuracy(lambda axes: {"u0": law.on_grid(xi, axes)}, circle(256, TAU))
    assert found.error < 1e-5 and "4 samples on 256 nodes from 512 nodes, half the time step" in found.how


def test_a_step_that_is_too_long_is_halved_and_what_stays_unstable_is_refused():
    axes = circle(64)
    u0 = 3 * (TAU * axes["x"]).sin()[None]
    times = torch.tensor([0.05, 0.1])
    long, short = (Burgers(nu=0.05, dt=dt).solve({"u0": u0}, axes, times)["u"] for dt in (0.05, 1e-4))
    assert relative(long, short) < 1e-2
    with pytest.raises(TrainingError, match="time step fell below"):
        Burgers().solve({"u0": u0 * math.nan}, axes)


def test_the_taylor_green_vortex_decays_exactly():
    axes = circle(32, names="xy")
    w0 = torch.outer((TAU * axes["x"]).cos(), (TAU * axes["y"]).cos())[None]
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    w = Vorticity(forcing=None, nu=1e-2).solve({"w0": w0}, axes, times)["w"]
    for k, t in enumerate((0.0, 0.3, 1.0)):
        assert torch.allclose(w[..., k], w0 * math.exp(-2 * TAU**2 * 1e-2 * t), atol=1e-13)


def test_vorticity_converges_with_order_four_in_time():
    law = GaussianRandomField("periodic", 7**1.5, 7.0, 2.5, modes=8).bind(SQUARE)
    axes = circle(32, names="xy")
    w0 = law.on_grid(law.draw(2, seeded()), axes)
    found = [Vorticity(dt=dt, final=2.0).solve({"w0": 8 * w0}, axes)["w"] for dt in (0.05, 0.025, 0.0125, 0.00625)]
    gaps = [float((a - b).norm()) for a, b in zip(found, found[1:], strict=False)]
    orders = [math.log2(a / b) for a, b in zip(gaps, gaps[1:], strict=False)]
    assert all(abs(order - 4) < 0.3 for order in orders), orders


def test_vorticity_satisfies_its_equation():
    """Residual of the equation by derivatives of another kind: fourth-order differences in space and time."""
    n, h_t, nu = 64, 1e-3, 5e-3
    axes = circle(n, names="xy")
    x, y = torch.meshgrid(*axes.values(), indexing="ij")
    psi = 0.05 * ((TAU * x).sin() * (TAU * 2 * y).cos() + (TAU * (x + y)).cos())
    force = 0.3 * (TAU * (x - y)).sin()
    roll = lambda f, axis, by: torch.roll(f, -by, axis)
    d = lambda f, axis: (8 * (roll(f, axis, 1) - roll(f, axis, -1)) - roll(f, axis, 2) + roll(f, axis, -2)) * n / 12
    dd = lambda f, axis: (16 * (roll(f, axis, 1) + roll(f, axis, -1)) - 30 * f
                          - roll(f, axis, 2) - roll(f, axis, -2)) * n**2 / 12
    w0 = 0.05 * TAU**2 * (5 * (TAU * x).sin() * (TAU * 2 * y).cos() + 2 * (TAU * (x + y)).cos())
    assert relative(-dd(psi, 0) - dd(psi, 1), w0) < 1e-3                       # the field is the one of ψ
    solver = Vorticity(nu=nu, dt=1e-3, forcing="f")
    times = torch.arange(3, dtype=torch.float64) * h_t
    w = solver.solve({"w0": w0[None], "f": force[None]}, axes, times)["w"][0]
    rate = (-3 * w[..., 0] + 4 * w[..., 1] - w[..., 2]) / (2 * h_t)
    expected = -d(psi, 1) * d(w0, 0) + d(psi, 0) * d(w0, 1) + nu * (dd(w0, 0) + dd(w0, 1)) + force
    assert relative(rate, expected) < 2e-3                                     # (4π/64)⁴/30 and h_t²


def test_a_strong_flow_halves_the_step_and_stays_finite():
    axes = circle(32, names="xy")
    w0 = 200 * torch.outer((TAU * axes["x"]).sin(), (TAU * axes["y"]).cos())[None]
    w0 = w0 + 50 * (TAU * 2 * axes["y"]).cos()
    long, short = (Vorticity(dt=dt, final=0.2).solve({"w0": w0}, axes)["w"] for dt in (0.2, 1e-3))
    assert bool(torch.isfinite(long).all()) and relative(long, short) < 0.05


def matrix(a, h):
    """The five-point flux operator with rows written out one by one."""
    n = a.shape[0]
    m = n - 2
    A = sp.lil_matrix((m * m, m * m))
    for i in range(1, n - 1):
        for j in range(1, n - 1):
            row = (i - 1) * m + j - 1
            for k, l in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                face = float(a[i, j] + a[k, l]) / 2 / h**2
                A[row, row] += face
                if 0 < k < n - 1 and 0 < l < n - 1:
                    A[row, (k - 1) * m + l - 1] -= face
    return A.tocsc()


def test_darcy_is_the_sparse_direct_solution_of_the_flux_form():
    law = GaussianRandomField("neumann", 3.0, 3.0, 2.0, modes=8, values=(3, 12)).bind(SQUARE)
    axes = nodes(17)
    a = law.on_grid(law.draw(3, seeded()), axes)
    u = Darcy().solve({"a": a}, axes)["u"]
    assert bool((u[:, 0] == 0).all()) and bool((u[:, :, -1] == 0).all())
    for i in range(3):
        A = matrix(a[i], 1 / 16)
        direct = torch.as_tensor(scipy.sparse.linalg.spsolve(A, [1.0] * 225)).view(15, 15)
        assert relative(u[i, 1:-1, 1:-1], direct) < 1e-9
        v = torch.randn(15, 15, generator=seeded(1), dtype=torch.float64)
        by_hand = torch.as_tensor(A @ v.flatten().numpy()).view(15, 15)
        assert torch.allclose(apply_diffusion(a[i:i + 1], v[None], (1 / 16, 1 / 16))[0], by_hand, rtol=1e-12)


def test_darcy_with_a_constant_coefficient_takes_one_iteration_and_has_the_known_middle():
    one = torch.ones(1, 33, 33, dtype=torch.float64)
    u, count = solve_diffusion(one, one[:, 1:-1, 1:-1], (1 / 32, 1 / 32))
    assert count == 1 and abs(float(u[0, 15, 15]) - 0.07361) < 5e-6
    fine = Darcy().solve({"a": torch.ones(1, 129, 129)}, nodes(129))["u"]
    assert abs(float(fine[0, 64, 64]) - 0.07367) < 1e-5


@pytest.mark.parametrize("names", ["x", "xy", "xyz"])
def test_darcy_converges_with_order_two_for_smooth_data_in_every_dimension(names):
    def data(n):
        axes = nodes(n, names)
        grids = torch.meshgrid(*axes.values(), indexing="ij")
        with torch.enable_grad():
            X = torch.stack([g.flatten() for g in grids], 1).requires_grad_()
            a = 1 + 0.5 * (X.sum(1)).sin()
            u = (math.pi * X).sin().prod(1)
            slopes = torch.autograd.grad(u.sum(), X, create_graph=True)[0] * a[:, None]
            f = -sum(torch.autograd.grad(slopes[:, d].sum(), X, create_graph=True)[0][:, d] for d in range(len(names)))
        shape = (1, *(n,) * len(names))
        return axes, {"a": a.detach().view(shape), "f": f.detach().view(shape)}, u.detach().view(shape)

    errors = []
    for n in (9, 17):
        axes, inputs, exact = data(n)
        errors.append(relative(Darcy(source="f").solve(inputs, axes)["u"], exact))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.1, errors


def test_the_iterations_do_not_grow_with_the_grid_and_the_error_is_stated():
    law = GaussianRandomField("neumann", 3.0, 3.0, 2.0, modes=24, values=(3, 12)).bind(SQUARE)
    xi = law.draw(4, seeded())
    counts = []
    for n in (17, 65):
        a = law.on_grid(xi, nodes(n))
        counts.append(solve_diffusion(a, torch.ones_like(a)[:, 1:-1, 1:-1], (1 / (n - 1),) * 2)[1])
    assert max(counts) <= 26                                # a factor of 3 for each at contrast 4: 21 for 1e-10
    found = Darcy().accuracy(lambda axes: {"a": law.on_grid(xi, axes)}, nodes(33))
    assert 0.003 < found.error < 0.04 and found.worst >= found.error


def test_the_sine_laplacian_inverts_the_flux_form_and_measures_its_energy():
    h = (1 / 9, 2 / 12)
    laplacian = SineLaplacian((8, 11), h, torch.float64)
    r = torch.randn(2, 8, 11, generator=seeded(), dtype=torch.float64)
    u = laplacian.solve(r)
    assert torch.allclose(apply_diffusion(torch.ones(1, 10, 13, dtype=torch.float64), u, h), r, atol=1e-11)
    assert torch.allclose(laplacian.transform(laplacian.transform(r)), r, atol=1e-13)
    assert torch.allclose(laplacian.energy(r), (u * r).flatten(1).sum(1), rtol=1e-12)


def test_results_do_not_depend_on_how_the_batch_is_cut(monkeypatch):
    a = 1 + torch.rand(5, 9, 9, generator=seeded(), dtype=torch.float64)
    whole = Darcy().solve({"a": a}, nodes(9))["u"]
    parts = torch.cat([Darcy().solve({"a": a[i:i + 1]}, nodes(9))["u"] for i in range(5)])
    assert torch.allclose(whole, parts, rtol=1e-8)


PLATE = {"theta": torch.arange(32, dtype=torch.float64) * TAU / 32,
         "layer": torch.linspace(0, 1, 9, dtype=torch.float64)}
VOIDS = GaussianRandomField("periodic", 2 * math.sqrt(TAU), 3.0, 1.0, modes=8, over="theta").bind({"theta": (0.0, TAU)})


def voids(count, seed=0):
    """ξ at 32 angles and seeds of scattered meshes."""
    xi = VOIDS.on_grid(VOIDS.draw(count, seeded(seed)), PLATE)
    return {"xi": xi, "seed": torch.rand(count, generator=seeded(1), dtype=torch.float64)}


def complexes():
    r = 0.2 + 0.2 / (1 + voids(1)["xi"][0].exp())
    return [o_grid(r, 9), scattered(r, 9, seeded())]


def test_the_law_of_voids_is_the_cosine_series_it_is_said_to_be():
    xi = torch.zeros(1, 17, dtype=torch.float64)
    xi[0, 3], xi[0, 10] = 1.0, 2.0                                              # cos 3θ and sin 2θ
    theta = PLATE["theta"]
    e = [2 * math.sqrt(2) / math.sqrt(k * k + 9) for k in (3, 2)]
    expected = e[0] * (3 * theta).cos() + 2 * e[1] * (2 * theta).sin()
    assert torch.allclose(VOIDS.on_grid(xi, PLATE)[0], expected, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("which", [0, 1], ids=["o-grid", "scattered"])
def test_plates_pass_the_patch_test_and_are_in_balance(which, order):
    complex_ = complexes()[which]
    space, material = Space(complex_, order), Material.of(1.0, 0.3, "stress")
    plane = (lambda x, y: 0.3 * x - 0.1 * y, lambda x, y: 0.2 * x + 0.5 * y)
    found = elasticity(space, material, dirichlet={"boundary": plane})
    for name, function in zip("uv", plane, strict=True):
        assert torch.allclose(found[name], function(*space.nodes.unbind(1)), atol=1e-12)
    pulled = elasticity(space, material, dirichlet={"bottom": (0.0, 0.0)}, traction={"top": (0.0, 1.0)})
    u = torch.stack([pulled["u"], pulled["v"]], 1).reshape(-1)
    force = (elastic(space, material.lam, material.mu) @ u).view(-1, 2)[space.on("bottom")].sum(0)
    assert torch.allclose(force, torch.tensor([0.0, -1.0], dtype=torch.float64), atol=1e-11)   # κ ≈ 1e4 roundings


@pytest.mark.parametrize("which", [0, 1], ids=["o-grid", "scattered"])
def test_nodal_weights_integrate_linear_functions_over_the_plate(which):
    complex_ = complexes()[which]
    a = weights(complex_)
    assert bool((a > 0).all())
    ring = complex_.X[Space(complex_, 1).on("void")] - 0.5
    ring = ring[torch.atan2(ring[:, 1], ring[:, 0]).argsort()]
    after = ring.roll(-1, 0)
    cross = ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]
    assert abs(float(a.sum()) - 1 + float(cross.sum()) / 2) < 1e-12
    moment = (cross[:, None] * (ring + after)).sum(0) / 6                       # ∫ (x − ½) over the void's polygon
    assert torch.allclose((a[:, None] * (complex_.X - 0.5)).sum(0), -moment, atol=1e-12)


def test_scattered_triangles_fill_the_plate_around_any_void():
    theta = {"theta": torch.arange(64, dtype=torch.float64) * TAU / 64}
    r = 0.2 + 0.2 / (1 + VOIDS.on_grid(VOIDS.draw(20, seeded()), theta).exp())
    for i in range(20):
        complex_ = scattered(r[i], 16, seeded(i))
        assert len(complex_) == 2 * 64 * 15 and len(complex_.boundary) == 128
        assert len(complex_.surfaces["void"]) == 64 and len(complex_.surfaces["top"]) == 16
        size = areas(complex_.X, complex_.blocks[0].nodes)
        on = complex_.X[Space(complex_, 1).on("void")] - 0.5
        on = on[torch.atan2(on[:, 1], on[:, 0]).argsort()]
        void = (on[:, 0] * on.roll(-1, 0)[:, 1] - on[:, 1] * on.roll(-1, 0)[:, 0]).sum() / 2
        assert bool((size > 0).all()) and abs(float(size.sum() + void) - 1) < 1e-12


def test_a_uniform_pull_on_a_plate_has_its_stress_far_from_the_void():
    """Nodal von Mises stress of the finite elements against pure tension where it must be: a plate of tiny void."""
    complex_ = o_grid(torch.full((32,), 1e-3, dtype=torch.float64), 9)
    stress = von_mises(complex_, Material.of(1.0, 0.0, "stress"), 1)            # ν = 0: no clamping effect
    far = (complex_.X - 0.5).norm(dim=1) > 0.3
    assert torch.allclose(stress[far], torch.ones_like(stress[far]), atol=0.01)  # the void changes it by (r/R)² = 1e-5


def test_finer_plates_and_quadratic_elements_come_closer():
    inputs = voids(1)
    reference = Elasticity(order=2, refine=4).solve(inputs, PLATE)["mises"]
    coarse, fine, quadratic = (
        relative(Elasticity(order=o, refine=k).solve(inputs, PLATE)["mises"], reference)
        for o, k in ((1, 1), (1, 2), (2, 1)))
    assert quadratic < fine < 0.7 * coarse and coarse < 0.4
    stated = Elasticity(order=1).accuracy(lambda _: inputs, PLATE)
    assert 0.3 * coarse < stated.error < 1.2 * coarse and "64×17" in stated.how


def test_scattered_plates_are_the_same_bodies_in_another_order():
    inputs = voids(2)
    solver = Elasticity(scatter="seed", order=2)
    found = solver.solve(inputs, PLATE)
    again = solver.solve({k: v[1:] for k, v in inputs.items()}, PLATE)
    assert all(torch.equal(found[k][1:], again[k]) for k in found)               # an instance is its own inputs
    assert found["mises"].shape == (2, 288) and found["radius"].shape == (2, 32)
    assert not torch.allclose(found["x"][0], found["x"][1], atol=0.1)
    fine = o_grid(found["radius"][0], 33)
    stress = von_mises(fine, Material.of(1.0, 0.3, "stress"), 2)
    X = torch.stack([found["x"][0], found["y"][0]], 1)
    expected = Discrete({"m": Space(fine, 1)}, {"m": stress}).at(X)["m"]
    here = torch.isfinite(expected)
    assert here.sum() > 250 and relative(found["mises"][0][here], expected[here]) < 0.15
    splined = Elasticity(scatter="seed", refine=2).solve(inputs, PLATE)
    assert all(torch.equal(found[k], splined[k]) for k in ("x", "y", "weight"))  # the same nodes, better values
    one = {k: v[:1] for k, v in inputs.items()}
    reference = Elasticity(scatter="seed", refine=6).solve(one, PLATE)["mises"]
    errors = [relative(f["mises"][:1], reference) for f in (found, splined)]
    assert errors[1] < 0.6 * errors[0] and errors[1] < 0.08


def test_splines_between_rays_find_a_smooth_function_at_points_of_the_plate():
    inputs = voids(1)
    xi, f = inputs["xi"][0], lambda X: torch.sin(3 * X[..., 0]) * torch.exp(X[..., 1])
    theta = torch.arange(128, dtype=torch.float64) * TAU / 128
    r = 0.2 + 0.2 / (1 + (trigonometric(32, TAU, theta) @ xi).exp())
    values = f(o_grid(r, 33).X).view(128, 33)
    found = Elasticity(scatter="seed").solve(inputs, PLATE)
    X = torch.stack([found["x"][0], found["y"][0]], 1)
    assert relative(between_rays(values, xi, X), f(X)) < 4e-3                    # kinks at the corners' rays
    assert relative(between_rays(values, xi, o_grid(r, 33).X), values.reshape(-1)) < 1e-12


WRONG = [
    (lambda: Elasticity(order=3), "order 1 or 2"), (lambda: Elasticity(refine=0), "refine ≥ 1"),
    (lambda: Elasticity().solve({"xi": torch.zeros(1, 9)}, nodes(9)), "the axes theta and layer"),
    (lambda: Elasticity().solve({"xi": torch.zeros(1, 4)}, {"theta": torch.arange(4.0), "layer": PLATE["layer"]}),
     "multiple of 8"),
    (lambda: Elasticity().solve(voids(1), {**PLATE, "layer": PLATE["layer"] + 1}), "from 0"),
    (lambda: Burgers().solve({"v": torch.zeros(1, 8)}, circle(8)), "unknown input function 'u0'"),
    (lambda: Burgers().solve({"u0": torch.zeros(1, 9)}, circle(8)), r"shape \(B, 8\)"),
    (lambda: Burgers().solve({"u0": torch.zeros(1, 8, 8)}, circle(8, names="xy")), "1 axes in space, not 2"),
    (lambda: Burgers().solve({"u0": torch.zeros(1, 4)}, {"x": torch.tensor([0.0, 1, 2, 4])}), "equispaced"),
    (lambda: Burgers().solve({"u0": torch.zeros(1, 8)}, circle(8), torch.tensor([1.0, 0.5])), "times must be"),
    (lambda: Burgers(nu=-1.0), "above 0"), (lambda: Vorticity(dt=0.0), "above 0"), (lambda: Darcy(tolerance=0.0), "in"),
    (lambda: Darcy().solve({"a": -torch.ones(1, 5, 5)}, nodes(5)), "smallest value is -1"),
    (lambda: Darcy().solve({"a": torch.ones(1, 5, 5)}, nodes(5), torch.ones(1)), "is steady"),
    (lambda: Vorticity(forcing="f").solve({"w0": torch.zeros(1, 8, 8)}, circle(8, names="xy")), "'f'"),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG, ids=[s for _, s in WRONG])
def test_wrong_inputs_are_told_in_a_sentence(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()


def test_a_random_number_is_a_viscosity():
    law = RandomNumber(0.05, 0.2, log=True).bind({"x": (0.0, 1.0)})
    nu = law.on_grid(law.draw(2, seeded()), circle(32))
    u0 = (TAU * circle(32)["x"]).sin().expand(2, 32)
    both = Burgers(nu="nu").solve({"u0": u0, "nu": nu}, circle(32))["u"]
    first = Burgers(nu=float(nu[0, 0])).solve({"u0": u0[:1]}, circle(32))["u"]
    assert torch.allclose(both[0], first[0], atol=1e-12) and not torch.allclose(both[0], both[1], atol=1e-3)
