"""Assembly and sparse solves: entry by entry against scikit-fem, and derivatives against differences."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from sciml.elements import assemble
from sciml.elements.assemble import pattern
from sciml.elements.boundary import Restricted
from sciml.elements.forms import (
    divergence,
    elastic,
    facet_load,
    facet_mass,
    load,
    mass,
    stiffness,
    transport,
)
from sciml.elements.iterate import cg
from sciml.elements.multigrid import Multigrid, solve_by_multigrid
from sciml.elements.space import Space
from sciml.elements.sparse import Sparse, Structure, solve
from sciml.errors import ProblemError, TrainingError
from sciml.mesh import KINDS, Cells, Complex
from sciml.mesh.structured import box, quadratic

skfem = pytest.importorskip("skfem")
from skfem.helpers import ddot, div, dot, grad, sym_grad, trace  # noqa: E402

BOXES = [(1, "line"), (2, "triangle"), (2, "quad"), (3, "tetra"), (3, "hexahedron")]
MESHES = {"line": skfem.MeshLine1, "triangle": skfem.MeshTri1, "quad": skfem.MeshQuad1, "tetra": skfem.MeshTet1}
ELEMENTS = {("line", 1): skfem.ElementLineP1, ("line", 2): skfem.ElementLineP2,
            ("triangle", 1): skfem.ElementTriP1, ("triangle", 2): skfem.ElementTriP2,
            ("quad", 1): skfem.ElementQuad1, ("quad", 2): skfem.ElementQuad2,
            ("tetra", 1): skfem.ElementTetP1, ("tetra", 2): skfem.ElementTetP2}


def crooked(dim, kind, cells=(4, 3, 2)):
    """A box with shifted inner nodes."""
    made = box([(0.0, 1.0), (-1.0, 1.0), (0.5, 2.0)][:dim], cells[:dim], kind)
    inner = torch.ones(len(made.X), dtype=torch.bool)
    inner[torch.unique(torch.cat([f.nodes.reshape(-1) for f in made.chosen(made.boundary)]))] = False
    shift = 0.1 * torch.sin(37.0 * made.X + torch.arange(dim)) * torch.tensor([1 / n for n in cells[:dim]])
    return made.moved(made.X + inner[:, None] * shift)


def oracle(space, vector=False):
    """scikit-fem's basis of the same space, and the number of its function at each of our coefficients."""
    (block,) = space.complex.blocks
    name = block.kind.name
    m = MESHES[name](space.complex.X.T.numpy(), block.nodes.T.numpy())
    element = ELEMENTS[name, space.order]()
    scalar = skfem.Basis(m, element, intorder=6)
    theirs = scalar.doflocs.T
    ours = space.nodes.numpy()
    order = np.abs(ours[:, None] - theirs[None]).max(-1)
    number = order.argmin(1)
    assert order.min(1).max() < 1e-12
    if not vector:
        return scalar, number
    basis = skfem.Basis(m, skfem.ElementVector(element), intorder=6)
    component = np.full(basis.N, -1)
    for a, numbers in enumerate(basis.dofs.element_dofs):     # components alternate, node by node
        component[numbers] = a % space.complex.dim
    columns = []
    for c in range(space.complex.dim):
        there = (component == c).nonzero()[0]
        columns.append(there[np.abs(ours[:, None] - basis.doflocs.T[there][None]).max(-1).argmin(1)])
    return basis, np.stack(columns, 1).reshape(-1)


def same(ours, theirs, rows, cols=None):
    cols = rows if cols is None else cols
    return np.abs(ours.to_scipy().toarray() - theirs.toarray()[np.ix_(rows, cols)]).max()


@pytest.mark.parametrize("dim, kind", [b for b in BOXES if b[1] in MESHES])
@pytest.mark.parametrize("order", [1, 2])
def test_mass_stiffness_and_transport_are_those_of_scikit_fem_entry_by_entry(dim, kind, order):
    space = Space(crooked(dim, kind), order)
    basis, number = oracle(space)
    linear = lambda x: sum((i + 1) * c for i, c in enumerate(x)) + 2
    k = lambda *x: linear(x)
    theirs = skfem.BilinearForm(lambda u, v, w: linear(w.x) * u * v).assemble(basis)
    assert same(mass(space, k, degree=6), theirs, number) < 1e-13
    tensor = torch.eye(dim, dtype=torch.float64) + 0.3
    theirs = skfem.BilinearForm(lambda u, v, w: sum(
        float(tensor[i, j]) * grad(u)[j] * grad(v)[i] for i in range(dim) for j in range(dim))).assemble(basis)
    # gradients on quadrilaterals are rational: a quadrature of the same degree on both sides
    assert same(stiffness(space, tensor, degree=6), theirs, number) < 1e-12
    theirs = skfem.BilinearForm(lambda u, v, w: linear(w.x) * dot(grad(u), grad(v))).assemble(basis)
    assert same(stiffness(space, k, degree=6), theirs, number) < 1e-12
    theirs = skfem.BilinearForm(lambda u, v, w: sum(w.x[i] * grad(u)[i] for i in range(dim)) * v).assemble(basis)
    assert same(transport(space, lambda *x: torch.stack(x, -1), degree=6), theirs, number) < 1e-12


@pytest.mark.parametrize("dim, kind", [(2, "triangle"), (2, "quad"), (3, "tetra")])
@pytest.mark.parametrize("order", [1, 2])
def test_elasticity_and_divergence_are_those_of_scikit_fem_entry_by_entry(dim, kind, order):
    space = Space(crooked(dim, kind, (3, 2, 2)), order)
    basis, number = oracle(space, vector=True)
    lam, mu = 1.7, 0.6
    theirs = skfem.BilinearForm(lambda u, v, w: lam * trace(sym_grad(u)) * trace(sym_grad(v))
                                + 2 * mu * ddot(sym_grad(u), sym_grad(v))).assemble(basis)
    assert same(elastic(space, lam, mu, degree=6), theirs, number) < 1e-12
    scalar = Space(space.complex, 1)
    pressure, rows = oracle(scalar)
    theirs = skfem.BilinearForm(lambda u, q, w: div(u) * q).assemble(basis, pressure)
    assert same(divergence(space, scalar, degree=6), theirs, rows, number) < 1e-13


@pytest.mark.parametrize("dim, kind", [(2, "triangle"), (2, "quad"), (3, "tetra")])
@pytest.mark.parametrize("order", [1, 2])
def test_facet_terms_are_those_of_scikit_fem(dim, kind, order):
    space = Space(crooked(dim, kind), order)
    basis, number = oracle(space)
    sides = skfem.FacetBasis(basis.mesh, basis.elem, intorder=6,
                             facets=basis.mesh.facets_satisfying(lambda x: np.abs(x[0] - 1) < 1e-12))
    factor = lambda x: 1 + x[1] ** 2
    theirs = skfem.BilinearForm(lambda u, v, w: factor(w.x) * u * v).assemble(sides)
    assert same(facet_mass(space, "x+", lambda *x: factor(x), degree=6), theirs, number) < 1e-13
    b = skfem.LinearForm(lambda v, w: factor(w.x) * v).assemble(sides)
    assert np.abs(facet_load(space, "x+", lambda *x: factor(x), degree=6).numpy() - b[number]).max() < 1e-13
    b = skfem.LinearForm(lambda v, w: factor(w.x) * v).assemble(basis)
    assert np.abs(load(space, lambda *x: factor(x), degree=6).numpy() - b[number]).max() < 1e-13


@pytest.mark.parametrize("dim, kind", BOXES)
@pytest.mark.parametrize("order", [1, 2])
def test_the_default_quadrature_is_exact_on_straight_cells(dim, kind, order):
    space = Space(box([(0, 1), (0, 2), (0, 3)][:dim], (2, 2, 2)[:dim], kind), order)
    for form in (mass, stiffness):
        assert torch.allclose(form(space).values, form(space, degree=8).values, atol=1e-13)
    if dim > 1:
        assert torch.allclose(elastic(space, 1.0, 2.0).values, elastic(space, 1.0, 2.0, degree=8).values, atol=1e-12)


def test_a_mixed_mesh_assembles_into_one_matrix():
    X = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0.5]], dtype=torch.float64)
    space = Space(Complex(X, (Cells(KINDS["quad"], torch.tensor([[0, 1, 2, 3]])),
                              Cells(KINDS["triangle"], torch.tensor([[1, 4, 2]])))), 2)
    u, v = space.interpolate(lambda x, y: x + 3 * y), space.interpolate(lambda x, y: 2 * x * y)
    # ∫ ∇(x + 3y)·∇(2xy) = ∫ 2y + 6x: 4 on the square, and the triangle has area ½ and centroid (4/3, ½)
    assert float(v @ (stiffness(space) @ u)) == pytest.approx(4 + 0.5 * (1 + 8), abs=1e-12)
    assert float(mass(space).values.sum()) == pytest.approx(1.5, abs=1e-13)


def test_coefficients_come_as_numbers_by_cell_by_point_by_group_and_as_matrices():
    plain = crooked(2, "triangle")
    centre = plain.X[plain.blocks[0].nodes].mean(1)
    left = (centre[:, 0] < 0.5).nonzero()[:, 0]
    right = (centre[:, 0] >= 0.5).nonzero()[:, 0]
    complex_ = Complex(plain.X, plain.blocks, {"left": left, "right": right}, plain.surfaces)
    space = Space(complex_, 2)
    by_cell = torch.where(centre[:, 0] < 0.5, 2.0, 5.0)
    Q = space.cells(2)[0].x.shape[1]
    expected = stiffness(space, by_cell).values
    eye = torch.eye(2, dtype=torch.float64)
    for value in ({"left": 2.0, "right": 5.0}, {"left": 2.0 * eye, "right": 5.0}, {"left": lambda x, y: 2 + 0 * x,
                  "right": 5 * eye}, by_cell[:, None, None] * eye, by_cell[:, None].expand(-1, Q)):
        assert torch.allclose(stiffness(space, value, degree=2).values, expected, atol=1e-13)
    assert torch.allclose(stiffness(space, 3 * eye).values, stiffness(space, 3).values, atol=1e-13)
    assert torch.allclose(load(space, (1.0, lambda x, y: x), columns=2)[:, 1], load(space, lambda x, y: x))
    with pytest.raises(ProblemError, match="cells have no value: none of the groups left"):
        stiffness(space, {"left": 1.0})
    with pytest.raises(ProblemError, match="unknown group of cells 'lefft'; did you mean 'left'"):
        stiffness(space, {"lefft": 1.0})
    with pytest.raises(ProblemError, match=r"a coefficient has shape \(7,\)"):
        stiffness(space, torch.ones(7))


def test_chunks_change_nothing(monkeypatch):
    space = Space(crooked(3, "tetra", (4, 3, 3)), 2)
    k = torch.linspace(1, 2, len(space.complex), dtype=torch.float64)
    whole, right = stiffness(space, k).values, load(space, lambda x, y, z: x * y + z)
    monkeypatch.setattr(assemble, "CHUNK", 4 * 10 * 3 * 37)
    other = Space(space.complex, 2)
    assert len(list(assemble.chunks(other, 2))) > 4
    assert torch.allclose(stiffness(other, k).values, whole, atol=1e-13)
    assert torch.allclose(load(other, lambda x, y, z: x * y + z), right, atol=1e-13)


def a_system(n=3):
    space = Space(crooked(2, "triangle", (n, n)), 1)
    return space, torch.rand(len(space.complex), dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1


def test_products_and_solves_have_first_and_second_derivatives():
    space, k = a_system(2)
    A0 = stiffness(space, k) + mass(space)
    A0 = Sparse(A0.structure, A0.values + 0.1 * torch.rand(len(A0.values), dtype=torch.float64,
                                                          generator=torch.Generator().manual_seed(1)))
    b = torch.linspace(0, 1, 2 * space.size, dtype=torch.float64).view(-1, 2)
    for right in (b, b[:, 0].contiguous()):
        inputs = (A0.values.clone().requires_grad_(), right.clone().requires_grad_())
        f = lambda v, x: Sparse(A0.structure, v) @ x
        g = lambda v, x: solve(Sparse(A0.structure, v), x)
        for function in (f, g):
            assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(g, inputs)


def test_a_solve_is_differentiable_in_the_coefficient_of_each_cell():
    space, k = a_system()
    fixed = space.on("x-")
    free = torch.ones(space.size, dtype=torch.bool)
    free[fixed] = False
    free = free.nonzero()[:, 0]
    b = load(space, 1.0)[free]

    def energy(k):
        return (solve(stiffness(space, k).block(free, free), b) ** 2).sum()
    assert torch.autograd.gradcheck(energy, (k.requires_grad_(),))


def test_blocks_transposes_and_sums_are_those_of_scipy():
    space, k = a_system()
    A = transport(space, lambda x, y: (y, -x)) + stiffness(space, k) * 2.0
    S = A.to_scipy()
    rows, cols = torch.tensor([0, 3, 5]), torch.tensor([1, 3, 7, 9])
    assert (A.block(rows, cols).to_scipy() != S[rows.numpy()][:, cols.numpy()]).nnz == 0
    assert (A.T.to_scipy() != csr_matrix(S.T)).nnz == 0
    assert np.array_equal(A.diagonal().numpy(), S.diagonal())
    with pytest.raises(ProblemError, match="entries in different places"):
        A + mass(Space(space.complex, 2))
    with pytest.raises(ProblemError, match=r"times a tensor of shape \(3,\)"):
        A @ torch.ones(3)
    with pytest.raises(ProblemError, match="different meshes"):
        pattern(space, Space(quadratic(space.complex), 1))


def test_a_singular_matrix_is_refused_with_a_reason():
    zero = Sparse(Structure(torch.tensor([0, 1, 2]), torch.tensor([0, 0]), (2, 2)), torch.ones(2, dtype=torch.float64))
    with pytest.raises(TrainingError, match="2 equations of the elements are singular"):
        solve(zero, torch.ones(2, dtype=torch.float64))
    with pytest.raises(ProblemError, match="expected a square matrix"):
        solve(zero, torch.ones(3, dtype=torch.float64))


def test_multigrid_needs_as_many_iterations_on_a_finer_mesh():
    steps = []
    for n in (64, 128):
        space = Space(box([(0, 1), (0, 1)], (n, n)), 1)
        jump = torch.where(space.complex.X[space.complex.blocks[0].nodes].mean(1)[:, 0] < 0.5, 1.0, 100.0)
        system = Restricted(stiffness(space, jump), space.on())
        cycle = Multigrid(system.inner)
        assert len(cycle.sizes) > 1 and cycle.sizes[0] > 5 * cycle.sizes[1]
        b = load(space, 1.0)[system.free]
        found = cg(system.inner, b, cycle, 1e-10)
        steps.append(found.steps)
        assert torch.allclose(found.x, solve(system.inner, b), rtol=1e-7, atol=1e-11)
    assert steps[1] <= steps[0] + 10 <= 50                    # read every 10 iterations; Jacobi takes 200 and 400


def test_a_cycle_is_symmetric_and_positive():
    space = Space(crooked(3, "tetra", (13, 13, 12)), 1)
    system = Restricted(stiffness(space), space.on("x-"))
    cycle = Multigrid(system.inner)
    R = torch.randn(len(system.free), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    G = R.T @ cycle(R)
    assert len(cycle.sizes) > 1
    assert torch.allclose(G, G.T, rtol=1e-10, atol=1e-12 * float(G.abs().max()))
    assert float(torch.linalg.eigvalsh((G + G.T) / 2).min()) > 0


def test_multigrid_solves_elasticity_and_has_a_derivative():
    space = Space(crooked(2, "triangle", (30, 30)), 1)
    fixed = (space.on("x-")[:, None] * 2 + torch.arange(2)).reshape(-1)
    k = torch.linspace(1, 2, len(space.complex), dtype=torch.float64).requires_grad_()
    grads = []
    for solver in (solve, lambda A, b: solve_by_multigrid(A, b, 1e-12, 2)):
        system = Restricted(elastic(space, k, k), fixed, solver)
        u = system.solve(load(space, (1.0, -2.0), 2).reshape(-1), torch.zeros(len(fixed), dtype=torch.float64))
        grads.append(torch.autograd.grad((u**2).sum(), k)[0])
    assert torch.allclose(*grads, rtol=1e-6, atol=1e-9 * float(grads[0].abs().max()))
