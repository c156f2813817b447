"""Finite elements on other devices: the same matrices and solutions, and nothing made on the wrong one."""

import pytest
import torch
from elsewhere import Elsewhere, mark, marked

from sciml.elements import forms
from sciml.elements.diffusion import Heat, diffusion, heat
from sciml.elements.eigen import modes
from sciml.elements.elasticity import Material, elasticity
from sciml.elements.flow import Flow, navier_stokes, stokes
from sciml.elements.space import Space
from sciml.elements.sparse import Sparse
from sciml.mesh.complex import Cells, Complex
from sciml.mesh.structured import box

MESHES = {"triangles": ([(0.0, 1.0), (0.0, 2.0)], (3, 4), ""), "quads": ([(0.0, 1.0), (0.0, 2.0)], (3, 4), "quad"),
          "tetrahedra": ([(0.0, 1.0)] * 3, (2, 2, 3), ""), "lines": ([(0.0, 1.0)], (5,), "")}


def mesh(name):
    made = box(*MESHES[name])
    left = made.X[made.blocks[0].corners].mean(1)[:, 0] < 0.5
    groups = {"left": left.nonzero()[:, 0], "right": (~left).nonzero()[:, 0]}
    return Complex(made.X, made.blocks, groups, made.surfaces)


def assembled(complex_, order):
    """Every form on a mesh, values in an order that depends on the mesh alone."""
    V, D = Space(complex_, order), complex_.dim
    two = {"left": 1.0, "right": lambda *x: 2 + x[0]}
    found = {"mass": forms.mass(V, two), "stiffness": forms.stiffness(V, two),
             "transport": forms.transport(V, (lambda *x: x[0], *range(2, D + 1))),
             "elastic": forms.elastic(V, 1.0, lambda *x: 1 + x[0]),
             "facet_mass": forms.facet_mass(V, "x+", lambda *x: 1 + x[0]),
             "load": forms.load(V, lambda *x: x[0] ** 2),
             "facet_load": forms.facet_load(V, "boundary", lambda *x: x[0])}
    if order == 2:
        found["divergence"] = forms.divergence(V, Space(complex_, 1))
    return {name: f.values if isinstance(f, Sparse) else f for name, f in found.items()}, V


def there(complex_):
    """A mesh that is elsewhere."""
    return Complex(mark(complex_.X.clone()), tuple(Cells(b.kind, mark(b.nodes.clone())) for b in complex_.blocks),
                   *({k: mark(v.clone()) for k, v in g.items()} for g in (complex_.volumes, complex_.surfaces)))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", MESHES)
def test_forms_are_assembled_where_the_mesh_is(name, order):
    want, _ = assembled(mesh(name), order)
    moved = there(mesh(name))
    with Elsewhere():
        got, space = assembled(moved, order)
        assert marked(space.nodes) and all(marked(f) for f in got.values())
    assert all(torch.equal(want[form], got[form]) for form in want)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", MESHES)
def test_forms_on_every_device_are_those_of_the_cpu(device, name, order):
    want, _ = assembled(mesh(name), order)
    got, _ = assembled(mesh(name).to(device), order)
    for form in want:
        assert got[form].device.type == device.type
        torch.testing.assert_close(got[form].cpu(), want[form], rtol=1e-13, atol=1e-14)


def flow_of(complex_):
    """Through the rectangle."""
    return Flow(complex_, 1.0, dirichlet={"boundary": (lambda x, y: y * (2 - y), 0.0)})


def solved(complex_):
    """Solutions of every solver that takes a mesh of triangles."""
    V = Space(complex_, 2)
    u = diffusion(V, {"left": 1.0, "right": 3.0}, lambda x, y: x * y, dirichlet={"x-": 0.0, "y-": lambda x, y: x},
                  neumann={"y+": 1.0}, robin={"x+": (2.0, lambda x, y: y)})
    w = elasticity(V, Material.of(1.0, 0.3), (0.0, -1.0), dirichlet={"x-": (0.0, 0.0)}, traction={"x+": (1.0, 0.0)})
    flow = stokes(flow_of(complex_))
    values, shapes = modes(V, 2, dirichlet="boundary")
    warm = heat(V, Heat(dirichlet={"x-": lambda x, y, t: t}), 0.0, [0.0, 0.5], 2)
    fast = navier_stokes(flow_of(complex_))
    return {"warm": warm["u"], "fast": fast["u"], "u": u["u"], "w": w["v"], "flow": flow["u"], "pressure": flow["p"],
            "values": values, "modes": shapes["u"]}


def test_solvers_work_where_the_mesh_is():
    want = solved(mesh("triangles"))
    moved = there(mesh("triangles"))
    with Elsewhere():
        got = solved(moved)
        assert all(marked(v) for v in got.values())
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-9, atol=1e-11)


def test_solutions_on_every_device_are_those_of_the_cpu(device):
    want, got = solved(mesh("triangles")), solved(mesh("triangles").to(device))
    for name in want:
        assert got[name].device.type == device.type
        torch.testing.assert_close(got[name].cpu(), want[name], rtol=1e-8, atol=1e-10)


def test_the_stand_in_finds_what_was_made_on_the_wrong_device():
    x = mark(torch.ones(3))
    with Elsewhere():
        y = x + torch.zeros(3, device=x.device) + 2 * x.new_ones(3) + torch.tensor(1.0)
        assert marked(y) and not marked(y.cpu()) and marked(torch.arange(3).to(x))
        with pytest.raises(AssertionError, match="here and elsewhere"):
            y + torch.zeros(3)
