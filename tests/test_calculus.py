"""Quantities, vectors and programs agree with reverse-mode automatic differentiation of the same formulas."""

from itertools import product
from math import pi

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sciml.calculus import (
    Frame,
    Program,
    Quantity,
    Vector,
    curl,
    d,
    div,
    dot,
    grad,
    laplacian,
    norm,
)
from sciml.calculus.quantity import Apply, substitute
from sciml.calculus.rules import RULES
from sciml.errors import ProblemError

# Both sides round each operation once; 1e-10 leaves room for cancellation in second and third derivatives.
TOLERANCE = 1e-10
PLANE = Frame(("x", "y"), ("x", "y"))


def leaves(frame=PLANE, unknowns=("u", "v")):
    return {
        **{n: frame.leaf("unknown", n) for n in unknowns},
        **{n: frame.leaf("coordinate", n) for n in frame.coordinates},
    }


def u_exact(x, y, z=0.0):
    return 1.7 + torch.sin(1.3 * x + 0.2) * torch.cos(0.9 * y - 0.4) + 0.1 * x * y + 0.2 * z * z * x


def v_exact(x, y, z=0.0):
    return 0.4 + 0.3 * torch.cos(x - 0.7 * y) + 0.05 * x * x * y + 0.1 * torch.sin(z + x * y)


EXACT = {"u": u_exact, "v": v_exact, "w": lambda x, y, z=0.0: torch.sin(x * y + 0.5 * z) + 0.3 * z}


def random_points(n=9, dimension=2, device="cpu"):
    generator = torch.Generator().manual_seed(3)
    X = 0.1 + 0.8 * torch.rand(dimension, n, generator=generator, dtype=torch.float64)
    return [c.to(device).requires_grad_() for c in X]


def slope(value, column):
    """∂value/∂column by reverse mode; 0 where value does not depend on it."""
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        return torch.zeros_like(column)
    (g,) = torch.autograd.grad(value.sum(), column, create_graph=True, allow_unused=True)
    return torch.zeros_like(column) if g is None else g


def evaluate(quantity, columns, frame=PLANE):
    """Values of a quantity, with the unknowns' derivatives from reverse mode."""
    program = Program({"q": quantity})
    values = {}
    for kind, name, alpha in program.leaves:
        if kind == "coordinate":
            values[kind, name, alpha] = columns[frame.coordinates.index(name)]
        else:
            value = EXACT[name](*columns)
            for column, count in zip(columns, alpha, strict=True):
                for _ in range(count):
                    value = slope(value, column)
            values[kind, name, alpha] = value
    return program(values, columns[0])[0]


def tensors(columns):
    """What an equation's names mean in the oracle."""
    return {"u": u_exact(*columns), "v": v_exact(*columns), "x": columns[0], "y": columns[1]}


def assert_agree(have, want):
    want = want.expand_as(have)
    torch.testing.assert_close(have.detach(), want.detach(), rtol=TOLERANCE, atol=TOLERANCE)


# Every formula keeps its arguments inside the domain of its functions: u in (0.9, 2.8), v in (0.3, 0.8).
CASES = {
    "add": lambda u, v, x, y: u + v * x,
    "add with alpha": lambda u, v, x, y: torch.add(u, v, alpha=3),
    "sub": lambda u, v, x, y: u - x * v,
    "sub with alpha": lambda u, v, x, y: torch.sub(u, v * x, alpha=2),
    "mul": lambda u, v, x, y: u * v * x * y,
    "div": lambda u, v, x, y: u / (v + x),
    "div by number": lambda u, v, x, y: u * x / 3,
    "number over": lambda u, v, x, y: 2 / (u * y),
    "numbers left": lambda u, v, x, y: 2 + (1 - (3 * u)) + (0.5 - v),
    "neg": lambda u, v, x, y: -(u * x),
    "square": lambda u, v, x, y: torch.square(u * y),
    "pow 2": lambda u, v, x, y: u**2,
    "pow 3": lambda u, v, x, y: (u * x) ** 3,
    "pow 0.5": lambda u, v, x, y: u**0.5,
    "pow -1.5": lambda u, v, x, y: u**-1.5,
    "pow 0": lambda u, v, x, y: u**0 * x,
    "pow of number": lambda u, v, x, y: 2**u,
    "pow of both": lambda u, v, x, y: u**v,
    "pow to coordinate": lambda u, v, x, y: u ** (x + y),
    "exp": lambda u, v, x, y: torch.exp(-u * x),
    "method": lambda u, v, x, y: (u * x).exp() + v.sin().square(),
    "log": lambda u, v, x, y: torch.log(u + x),
    "log1p": lambda u, v, x, y: torch.log1p(u * v),
    "sqrt": lambda u, v, x, y: torch.sqrt(u + x),
    "rsqrt": lambda u, v, x, y: torch.rsqrt(u * y),
    "reciprocal": lambda u, v, x, y: torch.reciprocal(u * y),
    "sin": lambda u, v, x, y: torch.sin(u * x),
    "cos": lambda u, v, x, y: torch.cos(u * v),
    "tan": lambda u, v, x, y: torch.tan(0.5 * v * x),
    "sinh": lambda u, v, x, y: torch.sinh(u * x),
    "cosh": lambda u, v, x, y: torch.cosh(v - y),
    "tanh": lambda u, v, x, y: torch.tanh(u * v),
    "functional tanh": lambda u, v, x, y: torch.nn.functional.tanh(u - x),
    "sigmoid": lambda u, v, x, y: torch.sigmoid(u - 2 * v),
    "atan": lambda u, v, x, y: torch.atan(u * x),
    "erf": lambda u, v, x, y: torch.erf(v * x),
    "abs": lambda u, v, x, y: torch.abs(x - 0.5) * u + abs(u),
    "relu": lambda u, v, x, y: torch.relu(x - 0.5) * u,
    "atan2": lambda u, v, x, y: torch.atan2(u, v + x),
    "where": lambda u, v, x, y: torch.where(x > 0.5, u * y, v**2),
    "where of numbers": lambda u, v, x, y: u * torch.where(x > 0.5, 0.25, 0.75),
    "where slopes of numbers": lambda u, v, x, y: torch.where((x > 0.5) & (y < 0.5), 0.1 * x, 0.7 * x) * u,
    "where either": lambda u, v, x, y: torch.where((x > 0.5) | ~(y < 0.5), u, x),
    "maximum": lambda u, v, x, y: torch.maximum(u * x, v),
    "minimum": lambda u, v, x, y: torch.minimum(u * x, v),
    "max of two": lambda u, v, x, y: torch.max(u * x, v),
    "floor": lambda u, v, x, y: u * torch.floor(4 * x),
    "sign": lambda u, v, x, y: u * torch.sign(x - y),
    "comparison": lambda u, v, x, y: u * (x >= y) + v * (x < y),
    # without a rule: forward mode of the function itself
    "expm1": lambda u, v, x, y: torch.expm1(u * x),
    "asin": lambda u, v, x, y: torch.asin(v * x),
    "lgamma": lambda u, v, x, y: torch.lgamma(u + y),
    "softplus": lambda u, v, x, y: torch.nn.functional.softplus(u * x),
    "hypot": lambda u, v, x, y: torch.hypot(u, v * x),
    "clamp": lambda u, v, x, y: torch.clamp(u * x, 0.4, 1.0),
    "clamp named": lambda u, v, x, y: torch.clamp(u * x, min=v, max=1.5 + 0.1 * y),
    "clamp named only": lambda u, v, x, y: torch.clamp(x, min=0.4) * torch.clamp(torch.square(y), max=0.2 + v * x),
    "module": lambda u, v, x, y: torch.nn.GELU()(u * y),
    "lerp": lambda u, v, x, y: torch.lerp(u, v, x),
    "nested fallback": lambda u, v, x, y: torch.expm1(torch.lgamma(u) * torch.sin(x)),
}


@pytest.mark.parametrize("formula", CASES.values(), ids=CASES.keys())
def test_a_formula_and_its_derivatives_agree_with_autograd(formula, device):
    columns = random_points(device=device)
    quantity, truth = formula(**leaves()), formula(**tensors(columns))
    assert_agree(evaluate(quantity, columns), truth)
    for i, a in enumerate("xy"):
        assert_agree(evaluate(d(quantity, a), columns), slope(truth, columns[i]))
        for j, b in enumerate("xy"):
            want = slope(slope(truth, columns[i]), columns[j])
            assert_agree(evaluate(d(quantity, a, b), columns), want)


def test_every_rule_of_differentiation_is_among_the_formulas_tested():
    seen = set()

    def visit(q):
        if isinstance(q, Apply):
            seen.add(q.function)
            for a in q.args:
                visit(a)

    for formula in CASES.values():
        visit(formula(**leaves()))
    assert set(RULES) <= seen, [f.__name__ for f in set(RULES) - seen]


def test_higher_derivatives_of_products_agree_with_autograd():
    columns = random_points()
    formula = lambda u, v, x, y: torch.exp(x * y) * u**2 / (1 + v)
    quantity, truth = formula(**leaves()), formula(**tensors(columns))
    for word in ("xxx", "xyy", "xxyy"):
        want = truth
        for letter in word:
            want = slope(want, columns["xy".index(letter)])
        # four derivatives of a quotient: terms of size 1e3 that cancel
        torch.testing.assert_close(evaluate(d(quantity, *word), columns), want, rtol=1e-9, atol=1e-8)


def test_attributes_made_of_coordinate_letters_are_derivatives():
    names = leaves()
    u = names["u"]
    assert u.x is d(u, "x") and u.xy is d(u, "y", "x") and u.yx is u.xy and u.xxy is d(u, "x", "x", "y")
    composite = u * names["x"]
    columns = random_points()
    truth = u_exact(*columns) * columns[0]
    assert_agree(evaluate(composite.xy, columns), slope(slope(truth, columns[0]), columns[1]))


def test_mixed_derivatives_do_not_depend_on_the_order_they_are_taken_in():
    names = leaves()
    columns = random_points()
    q = torch.exp(names["u"] * names["x"]) / names["v"]
    assert_agree(evaluate(d(q, "x", "y", "x"), columns), evaluate(d(q, "y", "x", "x"), columns))


def test_coordinates_with_long_names_are_differentiated_by_name():
    frame = Frame(("r", "theta"), ("r", "theta"))
    u = frame.leaf("unknown", "u")
    assert d(u, "theta", "r", "theta").alpha == (1, 2)
    assert repr(d(u, "theta")) == "u.d(theta)"
    assert d(frame.leaf("coordinate", "theta") ** 2, "theta", "theta") == 2.0


# ---- vector calculus -------------------------------------------------------------------------------------------


def hessian_trace(value, columns):
    return sum(slope(slope(value, c), c) for c in columns)


def test_the_divergence_of_a_flux_with_a_variable_coefficient_is_right():
    names, columns = leaves(), random_points()
    k = lambda x, y: 1 + x * x * torch.exp(y)
    u, x, y = names["u"], names["x"], names["y"]
    flux = [k(*columns) * slope(u_exact(*columns), c) for c in columns]
    want = sum(slope(f, c) for f, c in zip(flux, columns, strict=True))
    for quantity in (
        div(k(x, y) * grad(u)),
        div(grad(u) * k(x, y)),
        div((k(x, y) * u.x, k(x, y) * u.y)),
        d(k(x, y) * u.x, "x") + d(k(x, y) * u.y, "y"),
    ):
        assert_agree(evaluate(quantity, columns), want)


def test_a_nonlinear_flux_may_be_an_unknown_times_a_gradient():
    names, columns = leaves(), random_points()
    u = names["u"]
    want = sum(slope(u_exact(*columns) * slope(u_exact(*columns), c), c) for c in columns)
    assert_agree(evaluate(div(u * grad(u)), columns), want)


def test_the_laplacian_of_a_laplacian_is_the_biharmonic_operator():
    names, columns = leaves(), random_points()
    want = hessian_trace(hessian_trace(u_exact(*columns), columns), columns)
    assert_agree(evaluate(laplacian(laplacian(names["u"])), columns), want)
    u = names["u"]
    assert_agree(evaluate(u.xxxx + 2 * u.xxyy + u.yyyy, columns), want)


def test_the_laplacian_of_a_polynomial_ends_at_zero():
    x = leaves()["x"]
    assert laplacian(laplacian(x**2)) == 0.0


def test_the_gradient_obeys_the_product_rule():
    names, columns = leaves(), random_points()
    u, v = names["u"], names["v"]
    for have, want in zip(grad(u * v), u * grad(v) + v * grad(u), strict=True):
        assert_agree(evaluate(have, columns), evaluate(want, columns))


def space():
    frame = Frame(("x", "y", "z"), ("x", "y", "z"))
    return frame, leaves(frame, ("u", "v", "w")), random_points(dimension=3)


def test_the_curl_of_a_gradient_and_the_divergence_of_a_curl_vanish():
    frame, names, columns = space()
    u, v, w = names["u"], names["v"], names["w"]
    for part in curl(grad(torch.sin(u) * w)):
        assert_agree(evaluate(part, columns, frame), torch.zeros_like(columns[0]))
    assert_agree(evaluate(div(curl((u * w, v, w * u))), columns, frame), torch.zeros_like(columns[0]))


def test_the_curl_in_three_dimensions_has_the_components_of_the_textbook():
    frame, names, columns = space()
    F = [EXACT[n](*columns) for n in "uvw"]
    want = [
        slope(F[2], columns[1]) - slope(F[1], columns[2]),
        slope(F[0], columns[2]) - slope(F[2], columns[0]),
        slope(F[1], columns[0]) - slope(F[0], columns[1]),
    ]
    for part, value in zip(curl((names["u"], names["v"], names["w"])), want, strict=True):
        assert_agree(evaluate(part, columns, frame), value)


def test_curl_curl_is_grad_div_minus_laplacian():
    frame, names, columns = space()
    F = (names["u"], names["v"], names["w"])
    for part, c, f in zip(curl(curl(F)), "xyz", F, strict=True):
        assert_agree(evaluate(part, columns, frame), evaluate(d(div(F), c) - laplacian(f), columns, frame))


def test_the_curl_in_the_plane_turns_a_stream_function_into_a_solenoidal_field():
    names, columns = leaves(), random_points()
    velocity = curl(names["u"])
    assert_agree(evaluate(velocity.x, columns), slope(u_exact(*columns), columns[1]))
    assert_agree(evaluate(velocity["y"], columns), -slope(u_exact(*columns), columns[0]))
    assert_agree(evaluate(div(velocity), columns), torch.zeros_like(columns[0]))
    assert_agree(evaluate(curl(velocity), columns), -hessian_trace(u_exact(*columns), columns))


def test_time_is_not_a_space_coordinate():
    frame = Frame(("x", "t"), ("x",))
    u = frame.leaf("unknown", "u")
    assert laplacian(u) is u.xx and grad(u).names == ("x",)


def test_dot_and_norm_of_vectors():
    names, columns = leaves(), random_points()
    u = names["u"]
    slopes = torch.stack([slope(u_exact(*columns), c) for c in columns])
    assert_agree(evaluate(norm(grad(u)), columns), slopes.norm(dim=0))
    assert_agree(evaluate(dot(grad(u), (1.0, 2.0)), columns), slopes[0] + 2 * slopes[1])
    assert norm(grad(names["x"])) == 1.0


def test_vectors_add_scale_and_combine_with_tuples():
    names, columns = leaves(), random_points()
    g, x = grad(names["u"]), names["x"]
    both = (2 * g - (x, 1.0)) / 4 + (-g) * torch.tensor(0.5, dtype=torch.float64) + (1.0, x)
    first = slope(u_exact(*columns), columns[0])
    assert_agree(evaluate(both[0], columns), (2 * first - columns[0]) / 4 - 0.5 * first + 1)
    assert len(both) == 2 and isinstance(x * g, Vector) and isinstance(torch.tensor(2.0) * g, Vector)


# ---- constants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [3, 3.0, np.float64(3), np.float32(3), np.int64(3), torch.tensor(3.0), torch.tensor(3.0, dtype=torch.float64)],
    ids=lambda n: type(n).__name__,
)
def test_numbers_and_scalar_tensors_stand_on_either_side_of_every_operator(number):
    names, columns = leaves(), random_points()
    u, U = names["u"], u_exact(*columns)
    c = float(number)
    for have, want in [
        (number + u, c + U),
        (u + number, U + c),
        (number - u, c - U),
        (u - number, U - c),
        (number * u, c * U),
        (u * number, U * c),
        (number / u, c / U),
        (u / number, U / c),
        (number**u, c**U),
        (u**number, U**c),
        (-(u * number), -c * U),
    ]:
        assert_agree(evaluate(have, columns), want)
        assert_agree(evaluate(d(have, "x", "y"), columns), slope(slope(want, columns[0]), columns[1]))


def test_tensor_constants_follow_the_dtype_and_device_of_the_points(device):
    k = torch.tensor(0.1, dtype=torch.float64)
    program = Program({"q": k * PLANE.leaf("unknown", "u")})
    like = torch.ones(3, device=device)
    (value,) = program({program.leaves[0]: like}, like)
    assert value.dtype == torch.float32 and value.device == like.device


def test_comparisons_with_a_tensor_on_the_left_have_zero_derivative():
    names, columns = leaves(), random_points()
    q = (torch.tensor(0.5, dtype=torch.float64) < names["x"]) * names["u"]
    want = (0.5 < columns[0]) * u_exact(*columns)
    assert_agree(evaluate(d(q, "x"), columns), slope(want, columns[0]))


def test_sums_and_products_with_zero_and_one_are_simplified_away():
    u = leaves()["u"]
    assert u + 0 is u and 0 + u is u and u - 0 is u and 1 * u is u and u / 1 is u and u**1 is u
    assert u * 0 == 0.0 and 0 / u == 0.0 and u**0 == 1.0


# ---- what cannot be written --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mistake, sentence",
    [
        (lambda u, v, x, y: u if x > 0 else v, "torch.where"),
        (lambda u, v, x, y: float(u), "plain number"),
        (lambda u, v, x, y: np.asarray(u), "NumPy function"),
        (lambda u, v, x, y: u.xz, "no derivative or function 'xz'; did you mean .x"),
        (lambda u, v, x, y: d(u, "z"), "unknown coordinate 'z'"),
        (lambda u, v, x, y: torch.sum(u), "Integral"),
        (lambda u, v, x, y: u.mean(), "Integral"),
        (lambda u, v, x, y: torch.max(u), "Integral"),
        (lambda u, v, x, y: torch.stack([u, v]), "several components"),
        (lambda u, v, x, y: torch.column_stack((u, v)), "several components"),
        (lambda u, v, x, y: torch.mul(u, grad(v)), "mixes points or components"),
        (lambda u, v, x, y: u[0], "cannot be indexed"),
        (lambda u, v, x, y: len(u), "no length"),
        (lambda u, v, x, y: d(grad(u), "x"), "differentiate the components"),
        (lambda u, v, x, y: grad(3.0), "expected an unknown or an expression"),
        (lambda u, v, x, y: div((u, v, u)), r"one component per space coordinate \(2\), got 3"),
        (lambda u, v, x, y: dot((u, v), (u, v, x)), "2 and 3 components"),
        (lambda u, v, x, y: grad(u) + (x,), "2 and 1 components"),
        (lambda u, v, x, y: torch.sin(grad(u)), "use the components"),
        (lambda u, v, x, y: d(torch.special.bessel_j0(u), "x"), "does not know the derivative"),
    ],
)
def test_a_mistake_in_an_equation_gets_a_sentence(mistake, sentence):
    with pytest.raises(ProblemError, match=sentence):
        mistake(**leaves())


@pytest.mark.parametrize("mistake", [lambda u: np.sin(u), lambda u: u * [1, 2], lambda u: u // 2, lambda u: u / None])
def test_operations_that_are_not_ours_are_refused_and_never_guessed(mistake):
    with pytest.raises(TypeError):
        mistake(leaves()["u"])


def test_the_curl_of_a_scalar_needs_two_coordinates_and_vectors_name_their_components():
    line = Frame(("x",), ("x",)).leaf("unknown", "u")
    with pytest.raises(ProblemError, match="two space coordinates, the problem has 1"):
        curl(line)
    with pytest.raises(ProblemError, match="2 or 3 space coordinates, got 1"):
        curl((line,))
    with pytest.raises(AttributeError, match="no component 'z'"):
        _ = grad(leaves()["u"]).z


def test_the_derivative_of_a_normal_is_not_known():
    with pytest.raises(ProblemError, match="derivative of the normal 'x' is not known"):
        d(PLANE.leaf("normal", "x"), "x")


# ---- programs ----------------------------------------------------------------------------------------------------


def test_a_leaf_and_a_repeated_subexpression_are_evaluated_once():
    calls = []

    def counted(a):
        calls.append(1)
        return torch.sin(a)

    u = PLANE.leaf("unknown", "u")
    wrapped = lambda q: Apply(PLANE, counted, (q,), {})
    program = Program({"a": wrapped(u) + wrapped(u), "b": wrapped(u) * PLANE.leaf("unknown", "u")})
    assert program.leaves == (("unknown", "u", (0, 0)),)
    like = torch.rand(4, dtype=torch.float64)
    a, b = program({program.leaves[0]: like}, like)
    assert len(calls) == 1
    torch.testing.assert_close(a, 2 * torch.sin(like))
    torch.testing.assert_close(b, like * torch.sin(like))


def test_equal_numbers_of_different_kinds_and_tensors_are_not_confused():
    u = PLANE.leaf("unknown", "u")
    one, two = torch.tensor(1.5), torch.tensor(2.5)
    program = Program({"a": u * one, "b": u * two, "c": u + 2, "d": u + 2.0, "e": u**2, "f": u**3})
    like = torch.full((2,), 3.0, dtype=torch.float64)
    values = [float(v[0]) for v in program({program.leaves[0]: like}, like)]
    assert values == [4.5, 7.5, 5.0, 5.0, 9.0, 27.0]


class Copies(TorchDispatchMode):
    """Counts copies to another device or dtype."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._to_copy.default
        return function(*args, **(kwargs or {}))


def captured(k):
    """k u + k, and points of float32."""
    program = Program({"q": k * PLANE.leaf("unknown", "u"), "k": k})
    return program, torch.ones(3)


def test_a_captured_tensor_is_copied_once_for_each_dtype():
    program, like = captured(torch.tensor(0.5, dtype=torch.float64))
    points = {dtype: like.to(dtype) for dtype in (torch.float32, torch.float16)}
    with Copies() as copies:
        for dtype in (torch.float32, torch.float16) * 3:
            values = program({program.leaves[0]: points[dtype]}, points[dtype])
            assert all(v.dtype == dtype and v[0].item() == 0.5 for v in values)
    assert copies.count == 2


def test_no_copy_of_a_captured_tensor_outlives_a_transform_or_inference_mode():
    program, like = captured(torch.tensor(0.5, dtype=torch.float64))
    run = lambda u: program({program.leaves[0]: u}, u)[0]
    torch.func.jvp(run, (like,), (like,))
    torch.func.vmap(run)(like)
    with torch.inference_mode():
        run(like)
    u = like.clone().requires_grad_()
    run(u).sum().backward()
    torch.testing.assert_close(u.grad, torch.full((3,), 0.5))


def test_a_captured_tensor_that_is_trained_gets_its_gradient_at_every_step():
    k = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    program, like = captured(k)
    for _ in range(2):
        k.grad = None
        program({program.leaves[0]: like}, like)[0].sum().backward()
        assert float(k.grad) == 3.0


def test_a_compiled_program_contains_no_copy_of_its_captured_tensors():
    program, like = captured(torch.tensor(0.5, dtype=torch.float64))
    program.constants(like.device, like.dtype)
    graphs = []
    compiled = torch.compile(lambda u: program({program.leaves[0]: u}, u), fullgraph=True,
                             backend=lambda graph, inputs: graphs.append(graph) or graph)
    assert float(compiled(like)[0][0]) == 0.5
    (graph,) = graphs
    assert "to" not in [node.target for node in graph.graph.nodes]


def test_a_program_of_constants_has_one_value_per_point(device):
    program = Program({"zero": 0.0, "three": 3, "tensor": torch.tensor(2.0)})
    like = torch.zeros(5, dtype=torch.float64, device=device)
    values = program({}, like)
    assert [v.tolist() for v in values] == [[0.0] * 5, [3.0] * 5, [2.0] * 5]
    assert all(v.dtype == like.dtype and v.device == like.device for v in values)


def test_two_numbers_in_where_keep_the_precision_of_the_points():
    x = PLANE.leaf("coordinate", "x")
    program = Program({"k": torch.where(x > 0, 0.1, 0.2)})
    like = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert program({program.leaves[0]: like}, like)[0].tolist() == [0.2, 0.1]


def test_a_mask_becomes_a_number_in_the_dtype_of_the_points():
    program = Program({"mask": PLANE.leaf("coordinate", "x") > 0})
    like = torch.tensor([-1.0, 1.0])
    assert program({program.leaves[0]: like}, like)[0].tolist() == [0.0, 1.0]


def test_a_program_lists_the_derivatives_it_asks_for():
    names = leaves()
    u, v, nu = names["u"], names["v"], PLANE.leaf("parameter", "nu")
    program = Program({"r": d(v * u.x, "x") - nu * u.xx})
    assert program.requests == {"u": {(1, 0), (2, 0)}, "v": {(0, 0), (1, 0)}}
    assert program.uses("parameter") == ("nu",)


def test_deep_graphs_do_not_exhaust_the_stack():
    u = PLANE.leaf("unknown", "u")
    q = u
    for _ in range(5000):
        q = q + u
    like = torch.ones(1, dtype=torch.float64)
    assert float(Program({"q": q})({("unknown", "u", (0, 0)): like}, like)[0]) == 5001.0


def test_programs_work_under_vmap_and_jvp():
    names = leaves()
    program = Program(
        {"r": torch.lgamma(names["u"] + 1).x + torch.where(names["x"] > 0.5, 0.1, names["u"]), "one": 1.0}
    )
    keys = program.leaves
    values = {
        k: torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i, k in enumerate(keys)
    }
    whole = torch.stack(program(values, values[keys[0]]))
    single = torch.func.vmap(lambda v: torch.stack(program({k: a[None] for k, a in v.items()}, v[keys[0]][None])))
    torch.testing.assert_close(single(values)[:, :, 0].T, whole)

    unknown = next(k for k in keys if k[0] == "unknown" and sum(k[2]) == 1)
    along = lambda a: torch.stack(program({**values, unknown: a}, a))
    _, tangent = torch.func.jvp(along, (values[unknown],), (torch.ones(6, dtype=torch.float64),))
    # r is linear in u.x with slope digamma(u + 1)
    u = values["unknown", "u", (0, 0)]
    torch.testing.assert_close(tangent[0], torch.digamma(u + 1))


def test_parameters_of_no_dimension_broadcast_over_the_points():
    nu = PLANE.leaf("parameter", "nu")
    program = Program({"a": nu, "b": nu * PLANE.leaf("coordinate", "x")})
    like = torch.ones(4, dtype=torch.float64)
    a, b = program({nu.key: torch.tensor(2.0, dtype=torch.float64), ("coordinate", "x", (0, 0)): like}, like)
    assert a.shape == b.shape == (4,) and d(nu, "x") == 0.0


# ---- substitution ------------------------------------------------------------------------------------------------


def test_substitution_of_all_coordinates_gives_numbers_equal_to_python():
    names = leaves()
    x, y = names["x"], names["y"]
    values = {"x": 0.25, "y": 2.0}
    cases = [
        (torch.sin(pi * x) * y, np.sin(pi * 0.25) * 2),
        (x + 1, 1.25),
        (2**y / x, 16.0),
        (3.0, 3.0),
        (torch.where(x > 0, y, -y), 2.0),
        (torch.where((x > 1) | (y < 1), y, 7.0), 7.0),
        (torch.maximum(x, y), 2.0),
        (torch.clamp(x, min=y), 2.0),
        (torch.clamp(x, 0.5, 1.0), 0.5),
    ]
    for q, want in cases:
        have = substitute(q, values)
        assert not isinstance(have, Quantity) and have == pytest.approx(want, rel=1e-15)


def test_substitution_of_one_coordinate_leaves_a_function_of_the_others():
    names, columns = leaves(), random_points()
    x, y = names["x"], names["y"]
    q = torch.where(x < 0.5, torch.exp(x * y), y) + torch.maximum(x, y)
    have = evaluate(substitute(q, {"x": 0.25}), columns)
    assert_agree(have, torch.exp(0.25 * columns[1]) + columns[1].clamp_min(0.25))
    swapped = evaluate(substitute(q, {"x": y, "y": x}), columns)
    a, b = columns
    assert_agree(swapped, torch.where(b < 0.5, torch.exp(a * b), a) + torch.maximum(a, b))


def test_derivatives_by_two_letter_words_agree_for_all_pairs_of_rules_with_a_product():
    """d(f(u) g(x), …) for every pair of one-argument rules: the product rule meets every chain rule."""
    columns = random_points(4)
    functions = [torch.exp, torch.sqrt, torch.atan, torch.sigmoid, torch.erf, torch.rsqrt, torch.cosh]
    names = leaves()
    for f, g in product(functions, functions):
        q, truth = f(names["u"]) * g(names["x"]), f(u_exact(*columns)) * g(columns[0])
        assert_agree(evaluate(d(q, "x", "y"), columns), slope(slope(truth, columns[0]), columns[1]))
