"""Conditions are checked where they are written, and hold where they say."""

import math

import pytest
import torch

from sciml import (
    Box,
    Dirichlet,
    Disk,
    Equation,
    Initial,
    Integral,
    Interface,
    Interval,
    Neumann,
    Normalized,
    Observations,
    Periodic,
    Pin,
    Polygon,
    Problem,
    ProblemError,
    Range,
    d,
)


def laplace(u):
    return u.xx + u.yy


def square(*conditions, equation=laplace, **options):
    conditions = [Equation(equation), *conditions]
    return Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u", conditions=conditions, **options)


MISTAKES = {
    "a constant component": (
        lambda: square(equation=lambda u: {"a": u.xx, "b": 0.0}),
        "component 'laplace.b'|'equation.b'"),
    "a truth value": (lambda: square(equation=lambda u: u.xx == u.yy), "true or false.*left - right"),
    "a transposed tensor method": (lambda: square(equation=lambda u: u.t - u.xx), "no derivative or function 't'"),
    "d by an unknown": (lambda: square(equation=lambda u: d(u.x, u)), "derivatives are taken by coordinates, x, y"),
    "a coordinate that does not exist in over": (lambda: square(Integral(lambda u: u, over="x y z")), "coordinate 'z'"),
    "a list as data": (lambda: square(Dirichlet(u=lambda x: [0.0])), "'dirichlet': its data are a list"),
    "a vector as data": (
        lambda: square(Neumann(u=lambda normal: normal)),
        "its data are a Vector, expected one number"),
    "a text as data": (lambda: square(Dirichlet(u="0")), "expected a finite number or a function, got '0'"),
    "a text as weight": (lambda: square(Dirichlet(u=0.0, weight="big")), "weight='big' must be a number"),
    "data that are not a number": (
        lambda: square(Dirichlet(u=math.nan)),
        "expected a finite number or a function, got nan"),
    "a call of an unknown": (lambda: square(equation=lambda u, x: u(x)), r"write u and not u\(…\)"),
    "nothing returned": (lambda: square(equation=lambda u: None), "is None, expected an expression"),
    "no weight": (lambda: square(Dirichlet(u=0.0, weight=None)), "weight=None must be a number"),
    "half a point": (lambda: square(Dirichlet(u=0.0, points=2.5)), "points=2.5 must be a whole number"),
    "half a derivative": (lambda: square(Periodic("x", derivatives=1.5)), "derivatives=1.5 must be a whole number"),
    "`and` of masks": (
        lambda: square(Dirichlet(u=0.0, on=lambda x, y: x < 0.5 and y > 0.5)),
        "'dirichlet'.*with & and"),
    "a pin without names": (lambda: square(Pin(u=0.0, at=(0, 0))), r"at=\(0, 0\) must name coordinates"),
    "a pin at a text": (lambda: square(Pin(u=0.0, at=dict(x="a"))), "x='a' must be a number"),
    "an interface at a text": (lambda: square(Interface(at=dict(x="a"), u=0.0)), "x='a' must be a number"),
    "a text as an integral's value": (
        lambda: square(Integral(lambda u: u, equals="one")),
        "value='one' must be a number"),
    "an integral of a number": (lambda: square(Integral(1.0)), "Integral|integral needs a function"),
    "no group": (lambda: square(Integral(lambda u: u, over="x", groups=0)), "groups=0 must be a whole number"),
    "text measurements": (
        lambda: square(Observations(at=dict(x=[0.1], y=[0.2]), u=["a"])),
        "u must be an array of numbers"),
    "a coordinate too many": (
        lambda: square(Observations(at=dict(x=[0.1], y=[0.2], z=[0]), u=[0.1])), "unknown coordinate 'z'"),
    "a name that numbering makes": (
        lambda: square(Dirichlet(u=0.0, name="dirichlet 2"), Dirichlet(u=0.0, on="x-"), Dirichlet(u=0.0, on="x+")),
        "two conditions have the name 'dirichlet 2'"),
    "a range that nothing uses": (
        lambda: square(parameters=dict(k=Range(1, 2))),
        "no condition contains the parameter 'k'"),
}


@pytest.mark.parametrize(("make", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_condition_is_one_sentence(make, sentence):
    with pytest.raises(ProblemError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value)


TAKEN = ["alpha", "at", "beta", "distance", "flux", "name", "normal", "on", "over", "points", "self", "weight"]


@pytest.mark.parametrize("name", [*TAKEN, "lambda"])
def test_an_unknown_may_not_have_the_name_of_an_argument_of_conditions(name):
    with pytest.raises(ProblemError, match=f"^the unknown '{name}' has a name that is .* call it something else") as no:
        Problem(domain=Box(x=(0, 1)), unknowns=name, conditions=[Equation(lambda x: x)])
    assert str(no.value).endswith(f"Reserved: {', '.join(TAKEN)}.")


@pytest.mark.parametrize("kind", ["coordinate", "parameter"])
@pytest.mark.parametrize("name", ["normal", "self", "lambda"])
def test_coordinates_and_parameters_may_not_be_called_normal_self_or_a_word_of_python(kind, name):
    domain = Disk(names=(name, "y")) if kind == "coordinate" else Disk()
    parameters = {name: 1.0} if kind == "parameter" else {}
    with pytest.raises(ProblemError, match=f"^the {kind} '{name}' has a name that is"):
        Problem(domain=domain, unknowns="u", conditions=[Dirichlet(u=0.0)], parameters=parameters)


def test_a_coefficient_may_be_called_alpha():
    assert square(equation=lambda u, alpha: alpha * laplace(u), parameters=dict(alpha=0.1)).parameters == {"alpha": 0.1}


def test_one_name_means_one_thing():
    with pytest.raises(ProblemError, match="the name 'x' is used twice among the coordinates, unknowns and parameters"):
        Problem(domain=Box(x=(0, 1)), unknowns="x", conditions=[Dirichlet(x=0.0)])


def walls(*conditions, domain=None, unknowns="u", **options):
    first = Equation(lambda u: u.xx)
    return Problem(domain=domain or Box(x=(0, 1), y=(0, 1)), unknowns=unknowns, conditions=[first, *conditions],
                   **options)


UNIT = Box(x=(0, 1), t=(0, 1))
CONTRADICTIONS = {
    "a face": lambda: walls(Dirichlet(u=0.0, on="x-"), Dirichlet(u=1.0, on="x-")),
    "a face of all": lambda: walls(Dirichlet(u=1.0, on="y+"), Dirichlet(u=0.0)),
    "functions": lambda: walls(Dirichlet(u=lambda y: y, on="x-"), Dirichlet(u=lambda y: y**2, on="x-")),
    "part of a face": lambda: walls(Dirichlet(u=0.0, on="x-"), Dirichlet(u=1.0, on=lambda x, y: (x == 0) & (y > 0.8))),
    "one face of two": lambda: walls(Dirichlet(u=0.0, on=["x-", "x+"]), Dirichlet(u=1.0, on=["x+", "y+"])),
    "normals": lambda: walls(Dirichlet(u=lambda normal: normal.x, on="x-"), Dirichlet(u=1.0, on="x-")),
    "the start": lambda: walls(Initial(u=1.0), Initial(u=lambda x: x), domain=UNIT),
    "the start and its face": lambda: walls(Initial(u=1.0), Dirichlet(u=0.0, on="initial"), domain=UNIT),
    "velocities": lambda: walls(Initial(u=0.0, u_t=1.0), Initial(u=0.0, u_t=2.0), domain=UNIT),
    "a body": lambda: walls(Dirichlet(u=0.0, on=Box(x=(0, 0.5), y=(0, 0.5))), Dirichlet(u=1.0, on="x-")),
    "a point": lambda: walls(Pin(u=0.0, at=dict(x=0.0, y=0.5)), Pin(u=1.0, at=dict(x=0.0, y=0.5))),
    "a range": lambda: walls(Equation(lambda u, k: k * u.x), Dirichlet(u=lambda k: k), Dirichlet(u=1.0, on="x+"),
                             parameters=dict(k=Range(1, 2))),
}


@pytest.mark.parametrize("make", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_two_values_for_one_unknown_on_a_shared_piece_are_refused(make):
    with pytest.raises(ProblemError, match="^conditions '.*' and '.*' contradict each other: they prescribe u") as no:
        make()
    assert "\n" not in str(no.value) and str(no.value).endswith("leave one out, or give them different regions")


AGREEMENTS = {
    "a lid between walls": lambda: walls(Dirichlet(u=1.0, on="y+"), Dirichlet(u=0.0, on=["x-", "x+", "y-"])),
    "a start that the walls contradict": lambda: walls(Initial(u=1.0), Dirichlet(u=0.0), domain=UNIT),
    "the same again": lambda: walls(Dirichlet(u=0.0), Dirichlet(u=lambda x: torch.sin(math.pi * x), on="x+")),
    "another unknown": lambda: walls(Dirichlet(u=0.0), Dirichlet(v=1.0), unknowns="u v"),
    "a value and a velocity": lambda: walls(Initial(u=0.0), Initial(u_t=1.0), domain=UNIT),
    "an unknown value": lambda: walls(Dirichlet(u=0.0), Dirichlet(u=lambda v: v), Dirichlet(v=0.0), unknowns="u v"),
    "a sliver of a predicate": lambda: walls(Dirichlet(u=1.0, on=lambda x: x < 0.01), Dirichlet(u=0.0, on="y-")),
    "halves": lambda: walls(Dirichlet(u=1.0, on=lambda x, y: (x == 0) & (y > 0.5)),
                            Dirichlet(u=0.0, on=lambda x, y: (x == 0) & (y < 0.5))),
}


@pytest.mark.parametrize("make", AGREEMENTS.values(), ids=AGREEMENTS.keys())
def test_values_that_differ_in_corners_only_are_allowed(make):
    assert len(make().blocks) >= 2


def test_a_derivative_takes_the_coordinate_itself():
    by_object = square(equation=lambda u, x, y: d(x * d(u, x), x) + d(u, y, y))
    by_name = square(equation=lambda u, x: d(x * u.x, "x") + u.yy)
    assert by_object.derivative_set() == by_name.derivative_set()


def test_a_face_named_twice_counts_once():
    (block,) = (b for b in square(Dirichlet(u=0.0, on=["x-", "x-", "y+"])).blocks if b.name == "dirichlet")
    assert block.region.measure == 2


def test_derivatives_are_listed_by_unknown_and_order():
    def equation(u, v):
        return {"a": v.yy + u.xx, "b": u.y + u.x + v}

    problem = Problem(domain=Box(x=(0, 1), y=(0, 1)), unknowns="u v", conditions=[Equation(equation)])
    assert problem.derivative_set() == {"u": ((1, 0), (0, 1), (2, 0)), "v": ((0, 0), (0, 2))}


def pinned(domain, **at):
    problem = Problem(domain=domain, unknowns="u", conditions=[Equation(lambda u: u.x + u.y), Pin(u=0.0, at=at)])
    return problem.blocks[1].region


def test_a_pin_on_a_line_stays_inside_the_domain():
    corner = Polygon([(0, 0), (1, 0), (1, 0.5), (0.5, 0.5), (0.5, 1), (0, 1)])
    points = pinned(corner, x=0.75)
    assert 20 < len(points) < 64
    assert float(points.column("y").max()) <= 0.5


def test_a_pin_on_a_plane_fills_it():
    points = pinned(Box(x=(0, 1), y=(0, 1), t=(0, 1)), x=0.0)
    y, t = points.column("y"), points.column("t")
    assert len(points) == 64 and float((y - t).abs().max()) > 0.5
    assert float(points.column("x").abs().max()) == 0


def area(block, of=lambda columns: 1.0):
    """Integral of a function of the coordinates in each group of a block."""
    values = block.region.weights * of(block.region.columns())
    return values.reshape(block.groups, -1).sum(1)


def test_an_integral_over_space_follows_the_shape_of_space():
    problem = Problem(domain=Disk() * Interval(t=(0, 2)), unknowns="u", conditions=[
        Equation(lambda u: u.t - u.xx - u.yy), Initial(u=1.0), Integral(lambda u: u, over="x y")])
    block = problem.blocks[-1]
    areas = area(block)
    assert len(areas) == 32
    torch.testing.assert_close(areas, torch.full_like(areas, math.pi))
    assert len(set(block.region.column("t").tolist())) == 32


def test_an_integral_over_one_coordinate_of_a_disk_is_refused():
    with pytest.raises(ProblemError, match="differs from one y to the next"):
        Problem(domain=Disk(), unknowns="u", conditions=[Equation(laplace), Integral(lambda u: u, over="x")])


def test_a_norm_is_taken_at_each_value_of_a_ranged_parameter():
    problem = Problem(domain=Box(x=(0, 3)), unknowns="psi", parameters=dict(k=Range(1, 5)), conditions=[
        Equation(lambda psi, k: psi.xx + k * psi), Normalized(psi=1.0)])
    lengths = area(problem.blocks[-1])
    torch.testing.assert_close(lengths, torch.full((32,), 3.0, dtype=torch.float64))
