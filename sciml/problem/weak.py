"""Weak conditions and energies on meshes: ∫ F(u, v) = 0 for all test functions v, ∫ F(u) → min.

    ∫_Ω F(u, ∇u, v, ∇v) dx + Σ_Γ ∫_Γ G_Γ(u, v) ds = 0   for all v in a finite-element space

The test functions are the nodal functions of the mesh; those that sit where Dirichlet data are prescribed are left out.
The unknown is any field, read at quadrature points: that makes it a Petrov–Galerkin method, in which fluxes across
surfaces where coefficients jump, and natural boundary conditions, hold without being stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..calculus import Program, Quantity
from ..calculus.quantity import is_number, substitute
from ..elements.functionals import Functionals, Places, Term, Total, places
from ..elements.space import Space
from ..errors import ProblemError, unknown_name
from ..geometry import Domain, Mesh, Product, Region
from ..mesh.complex import Complex
from ..points import Points
from .block import Block
from .condition import Condition, faces_of
from .setting import Setting, components, function_name


class Weak(Condition):
    """A weak form that must vanish for every test function.

    Args:
        form: F: takes unknowns, their test functions, coordinates and parameters by name; linear in the test functions
            and their first derivatives, e.g. `lambda u, v: u.x * v.x + u.y * v.y - v`.
        natural: G by surface group of the mesh: forms that are integrated over it (prescribed fluxes, Robin terms),
            which may also ask for `normal`; e.g. `{"outlet": lambda v: -2.0 * v}`.
        tests: Name of the test function; of several: a dict from each name to the unknown it belongs to, which says
            where it vanishes. One unknown needs none: its test function is called v.
        order: Of the test functions, 1 or 2; by test function if it is a dict.
        degree: Of the quadrature on cells and facets; None: twice the order, plus one.
        instants: On a product of a mesh with time (or with ranged parameters): at how many points of these the form
            must hold, Gauss's in one such coordinate, Sobol's in several. Test functions depend on space only.

    Raises:
        ProblemError: The domain is no mesh, a form is not linear in the test functions, or a name is unknown.

    Note:
        Derivatives of the unknown beyond those that the form contains are not asked for, so second-order equations
        need a field of first derivatives only. There must be more test functions than the field has parameters, or many
        fields satisfy all of them; and the quadrature sees the field at its points only.
    """

    kind = "weak"

    def __init__(self, form: Callable, natural: Mapping[str, Callable] | None = None,
                 tests: str | Mapping[str, str] = "v", order: int | Mapping[str, int] = 1, degree: int | None = None,
                 instants: int = 16, name: str | None = None, weight: float = 1.0):
        super().__init__(name, weight)
        if isinstance(instants, bool) or not isinstance(instants, int) or instants < 1:
            raise ProblemError(f"Weak: instants={instants!r} must be a whole number, at least 1")
        if not callable(form):
            raise ProblemError(f"Weak needs a function of unknowns and test functions, got {form!r}")
        self.form, self.natural, self.tests, self.order = form, dict(natural or {}), tests, order
        self.degree, self.instants = degree, instants

    @property
    def label(self):
        return self.name or function_name(self.form, self.kind)

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        mesh, other = mesh_of(setting, where)
        complex_, columns = mesh.complex, [setting.domain.names.index(n) for n in mesh.names]
        tests = self._tests(setting, where)
        inner = replace(setting, tests=tuple(tests))
        forms: dict[str | None, object] = {None: _scalar(inner.call(self.form, where), name, where)}
        for group, form in self.natural.items():
            _demand_group(complex_, group, where)
            forms[group] = _scalar(inner.call(form, f"{where} on {group!r}", normal=True), name, where)
        found = []
        for v, unknown in tests.items():
            order = self.order if isinstance(self.order, int) else self.order.get(v, 1)
            space = Space(complex_, order)
            terms = _terms(setting, forms, v, list(tests), columns, where)
            if not terms:
                raise ProblemError(f"{where}: the test function {v!r} does not occur in the form")
            outputs = {f"{group or 'inside'}.{alpha}": f for (group, alpha), f in terms.items()}
            program = Program(outputs)
            if not program.uses("unknown"):
                raise ProblemError(f"{where}: the part that multiplies {v!r} contains no unknown; nothing can make it "
                                   "vanish")
            at = places(space, tuple(self.natural), self.degree or 2 * order + 1)
            free = _free(space, setting.fixed.get(unknown, ()), complex_)
            if not len(free):
                raise ProblemError(f"{where}: no test function {v!r} is left: every node has Dirichlet data; refine "
                                   "the mesh, or take order=2")
            points, shares = spread(setting, mesh, other, at, self.instants)
            rows = Functionals(space, at, [(group, tuple(alpha[i] for i in columns)) for group, alpha in terms], free,
                               unknown, shares)
            label = name if len(tests) == 1 else f"{name}.{v}"
            found.append(Block(label, (label,), program, points, combine="test", weight=self.weight, kind=self.kind,
                               tests=rows))
        return found

    def _tests(self, setting: Setting, where: str) -> dict[str, str]:
        """Unknown by test function."""
        tests = self.tests
        if isinstance(tests, str):
            if len(setting.unknowns) != 1:
                raise ProblemError(f"{where}: with the unknowns {', '.join(setting.unknowns)} say which test function "
                                   f"belongs to which, e.g. tests=dict(a={setting.unknowns[0]!r}, …)")
            tests = {tests: setting.unknowns[0]}
        taken = [*setting.names(normal=True)]
        for v, unknown in tests.items():
            if unknown not in setting.unknowns:
                raise ProblemError(f"{where}: tests: {unknown_name('unknown', unknown, setting.unknowns)}")
            if v in taken:
                raise ProblemError(f"{where}: the test function cannot be called {v!r}, which is something else here; "
                                   "give another name by tests=")
        return dict(tests)


class Energy(Condition):
    """An energy that must be smallest: E(u) = ∫_Ω F(u, ∇u) dx + Σ_Γ ∫_Γ G_Γ(u) ds (the Deep Ritz method).

    Args:
        density: F: takes unknowns, coordinates and parameters by name, e.g. `lambda u: 0.5 * (u.x**2 + u.y**2) - u`.
        natural: G by surface group of the mesh, e.g. `{"outlet": lambda u: -2.0 * u}` for the flux 2.
        degree: Of the quadrature on cells and facets.

    Raises:
        ProblemError: The domain is no mesh, or a name is unknown.

    Source: E and Yu (2018), doi:10.1007/s40304-018-0127-z; there with random points, here with quadrature.

    Note:
        The loss is E itself, not a square: it may be negative, and is for methods that take a loss (adam, soap, lbfgs,
        ssbroyden). Dirichlet data should be built in (constraints="hard"); as a penalty they compete with E. A field
        that oscillates between the quadrature points can lower E without bound: give a degree or a mesh fine enough.
        `Weak` with the derivative of E goes with Gauss–Newton too.
    """

    kind = "energy"

    def __init__(self, density: Callable, natural: Mapping[str, Callable] | None = None, degree: int = 3,
                 name: str | None = None, weight: float = 1.0):
        super().__init__(name, weight)
        if not callable(density):
            raise ProblemError(f"Energy needs a function of the unknowns, got {density!r}")
        self.density, self.natural, self.degree = density, dict(natural or {}), degree

    @property
    def label(self):
        return self.name or function_name(self.density, self.kind)

    def blocks(self, setting, name):
        where = f"condition {name!r}"
        mesh, other = mesh_of(setting, where)
        if other is not None:
            raise ProblemError(f"{where}: an energy is one number, of a mesh without {', '.join(other.names)}; "
                               "take Weak")
        complex_ = mesh.complex
        outputs = {"inside": _scalar(setting.call(self.density, where), name, where)}
        for group, density in self.natural.items():
            _demand_group(complex_, group, where)
            outputs[group] = _scalar(setting.call(density, f"{where} on {group!r}", normal=True), name, where)
        program = Program(outputs)
        if not program.uses("unknown"):
            raise ProblemError(f"{where}: the energy contains no unknown; nothing can lower it")
        at = places(Space(complex_, 1), tuple(self.natural), self.degree)
        points, _ = spread(setting, mesh, None, at, 1)
        return [Block(name, (name,), program, points, combine="energy", weight=self.weight, kind=self.kind,
                      tests=Total(at, [None, *self.natural]))]


def _demand_group(complex_: Complex, group: str, where: str) -> None:
    if group not in complex_.surfaces and group != "boundary":
        raise ProblemError(f"{where}: {unknown_name('region', group, [*complex_.surfaces, 'boundary'])}")


def mesh_of(setting: Setting, where: str) -> tuple[Mesh, Domain | None]:
    """The mesh that the problem's domain is, or is a product of, and the product of the other factors.

    Raises:
        ProblemError: There is no mesh of cells in it, or more than one.
    """
    factors, stack = [], [setting.domain]
    while stack:
        domain = stack.pop()
        if isinstance(domain, Product):
            stack += [domain.b, domain.a]
        else:
            factors.append(domain)
    meshes = [f for f in factors if isinstance(f, Mesh) and f.complex.dim == len(f.names)]
    if len(meshes) != 1:
        raise ProblemError(f"{where}: weak forms and energies need a Mesh of cells as the domain, or one times time "
                           f"and parameters; it is a {setting.domain.kind} with "
                           + ("none" if not meshes else f"{len(meshes)} of them"))
    other: Domain | None = None
    for f in factors:
        if f is not meshes[0]:
            other = f if other is None else other * f
    return meshes[0], other


def spread(setting: Setting, mesh: Mesh, other: Domain | None, at: Places, instants: int
           ) -> tuple[Points, Tensor | None]:
    """Quadrature points of a mesh at all instants, one after the other, and the instants' shares (M,) of sum M."""
    if other is None:
        return Points(at.X, mesh.names, at.weights, at.normals).reorder(setting.domain.names), None
    when = other.quadrature(instants) if len(other.names) == 1 else \
        other.sample(instants, generator=torch.Generator().manual_seed(0), rule="sobol")
    assert when.weights is not None
    M, N = len(when), len(at.X)
    X = torch.cat([at.X.repeat(M, 1), when.X.repeat_interleave(N, 0)], 1)
    normals = torch.cat([at.normals.repeat(M, 1), X.new_zeros(M * N, len(other.names))], 1)
    weights = (when.weights[:, None] * at.weights).reshape(-1)
    points = Points(X, mesh.names + other.names, weights, normals)
    return points.reorder(setting.domain.names), when.weights * (M / when.weights.sum())


def _scalar(result, name: str, where: str):
    """A form's integrand: one expression."""
    found = components(result, name, where)
    if len(found) > 1:
        raise ProblemError(f"{where}: a form returns one expression, the integrand, got {len(found)} components; add "
                           "them up, or write one Weak for each")
    return next(iter(found.values()))


def _terms(setting: Setting, forms: Mapping[str | None, object], v: str, tests: list[str], columns: list[int],
           where: str) -> dict[Term, object]:
    """What multiplies v and each of its derivatives in space (the columns given), by place."""
    D = len(setting.frame.coordinates)
    none = (0,) * D
    first = [none, *(tuple(int(i == j) for i in range(D)) for j in columns)]
    found: dict[Term, object] = {}
    for group, form in forms.items():
        leaves = [key for key in Program({"form": form}).leaves if key[0] == "test"]
        high = [key for key in leaves if sum(key[2]) > 1]
        if high:
            raise ProblemError(f"{where}: the form has second derivatives of the test function {high[0][1]!r}; "
                               "integrate by parts until first ones are left")
        other = [key for key in leaves if key[2] not in first]
        if other:
            n = setting.frame.coordinates[other[0][2].index(1)]
            raise ProblemError(f"{where}: the form has the derivative of the test function {other[0][1]!r} in {n}, but "
                               "test functions depend on space only; put that derivative on the unknown")
        zero: dict[object, object] = dict.fromkeys(leaves, 0.0)
        rest = substitute(form, zero)
        if not _vanishes(rest):
            raise ProblemError(f"{where}: the form has a part without a test function; multiply it with one")
        total: object = 0.0
        for alpha in first:
            for w in tests:
                key = ("test", w, alpha)
                if key not in leaves:
                    continue
                coefficient = substitute(form, {**zero, key: 1.0})
                total = total + coefficient * setting.frame.leaf("test", w, alpha)
                if w == v:
                    found[group, alpha] = coefficient
        if not _vanishes(form - total):  # type: ignore[operator]
            raise ProblemError(f"{where}: the form is not linear in the test functions {', '.join(tests)}")
    return found


def _vanishes(value, N: int = 16) -> bool:
    """Whether an expression is zero at made-up values of its leaves, up to rounding."""
    if not isinstance(value, Quantity):
        return is_number(value, 0)
    program = Program({"value": value})
    generator = torch.Generator().manual_seed(0)
    leaves = {key: torch.rand(N, generator=generator, dtype=torch.float64) for key in program.leaves}
    (result,) = program(leaves, torch.zeros(N, dtype=torch.float64))
    return bool((result.nan_to_num().abs() < 1e-9).all())


def _free(space: Space, fixed, complex_: Complex) -> Tensor:
    """Numbers of the test functions that do not sit on Dirichlet data."""
    taken = torch.zeros(space.size, dtype=torch.bool)
    for on in fixed:
        for item in faces_of(on):
            if isinstance(item, str):
                if item == "boundary" or item in complex_.surfaces:
                    taken[space.on(item)] = True
            elif isinstance(item, Region):
                taken |= item.contains(space.nodes)
            elif callable(item) and not isinstance(item, Domain):
                raise ProblemError("Dirichlet data beside a weak form need named regions: test functions vanish on "
                                   "whole facets of the mesh; name the group instead of giving a function")
    return (~taken).nonzero()[:, 0]
