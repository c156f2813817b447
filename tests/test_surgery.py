"""Directions from several gradients: equal cosines, no conflicts, and what hand and other libraries compute."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sciml.balance import BALANCERS, build_balance
from sciml.balance.balance import grouped
from sciml.balance.cone import cosines, nonnegative, project
from sciml.balance.config import config
from sciml.balance.diagnose import alignment, conflict_rate, conflicts
from sciml.balance.imtl_g import imtl_g
from sciml.errors import ProblemError
from sciml.optim import MultiAdam

SURGERIES = ["config", "imtl-g", "pcgrad"]
# The formulas of ConFIG and IMTL-G raise the first loss here: three gradients in a plane, zero in their convex hull.
DEPENDENT = [[1.0, 0.0], [-1.0, 0.05], [-1.0, -0.05]]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(*vectors):
    return torch.tensor(vectors, dtype=torch.float64)


def surgery(name, **options):
    return build_balance(name, {name: options}).surgery


def skewed(m, P, seed=0):
    """Gradients of very different lengths that point against each other."""
    G = random(m, P, seed=seed) * torch.logspace(-3, 3, m, dtype=torch.float64)[:, None]
    G[-1] -= 1e3 * G[0]
    return G


# ---- ConFIG ----------------------------------------------------------------------------------------------------


def config_by_numpy(G):
    """The published formula with the shortest least-squares solution of U d = 1."""
    G = G.numpy()
    U = G / np.linalg.norm(G, axis=1, keepdims=True)
    d = np.linalg.lstsq(U, np.ones(len(G)), rcond=1e-12)[0]
    d /= np.linalg.norm(d)
    return torch.from_numpy((G @ d).sum() * d)


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("make", [random, skewed], ids=["random", "skewed"])
def test_config_is_the_shortest_vector_with_equal_products_at_the_sum_of_projections(m, make):
    G = make(m, 40, seed=m)
    g = surgery("config").aggregate(G)
    torch.testing.assert_close(g, config_by_numpy(G), rtol=1e-11, atol=1e-11 * float(g.norm()))   # κ(U) ≤ 1e3
    equal = cosines(g, G)
    assert float(equal.max() - equal.min()) < 1e-13 and float(equal.min()) > 0


def test_the_two_forms_of_config_agree():
    G = random(2, 30)
    one, two = config(G)[0], config(G, weights=[1, 1])[0]
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-13)


def test_config_keeps_its_accuracy_where_the_gram_matrix_loses_it():
    a, b, c = torch.linalg.qr(random(20, 3))[0].T
    angle = 1e-7                                              # κ(U) = 2e7, κ(U Uᵀ) = 4e14
    G = torch.stack([a, -math.cos(angle) * a + math.sin(angle) * b, c])
    g, fell = config(G)
    assert not bool(fell)
    middle = b * math.cos(angle / 2) + a * math.sin(angle / 2)     # its products with both are angle / 2
    want = middle / (angle / 2) + c
    # One rounding of U is amplified by κ(U).
    torch.testing.assert_close(g / g.norm(), want / want.norm(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("length, mean", [
    ("min", np.min), ("max", np.max), ("arithmetic", np.mean), ("harmonic", lambda n: len(n) / (1 / n).sum()),
    ("geometric", lambda n: n.prod() ** (1 / len(n)))])
def test_lengths_of_config_are_means_of_the_lengths_times_the_sum_of_cosines(m, length, mean):
    G = skewed(m, 12)
    g = surgery("config", length=length).aggregate(G)
    want = mean(np.linalg.norm(G.numpy(), axis=1)) * float(cosines(g, G).sum())
    assert float(g.norm()) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("weights", [[1.0, 3.0], [1.0, 2.0, 0.5]])
def test_weights_of_config_are_ratios_of_cosines(weights):
    G = random(len(weights), 9)
    products = cosines(surgery("config", weights=weights).aggregate(G), G)
    torch.testing.assert_close(products / products[0], torch.tensor(weights, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", SURGERIES)
def test_gradients_that_vanish_are_left_out(name):
    g1, g2, zero = random(7), random(7, seed=1), torch.zeros(7, dtype=torch.float64)
    aggregate = surgery(name).aggregate
    for G in (torch.stack([g1, zero]), torch.stack([zero, g1]), g1[None], torch.stack([zero, g1, zero])):
        torch.testing.assert_close(aggregate(G), g1, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(aggregate(torch.stack([g1, zero, g2])), aggregate(torch.stack([g1, g2])),
                               rtol=1e-13, atol=1e-13)
    for m in (1, 2, 3):
        assert torch.equal(aggregate(torch.zeros(m, 7, dtype=torch.float64)), zero)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_parallel_gradients_add_up_and_antiparallel_ones_cancel(scale):
    g = random(11)
    for name in ("config", "pcgrad"):
        aggregate = surgery(name).aggregate
        torch.testing.assert_close(aggregate(torch.stack([g, scale * g])), (1 + scale) * g, rtol=1e-14, atol=0)
        # Cancellation of two vectors of length |g| leaves their rounding.
        assert float(aggregate(torch.stack([g, -scale * g])).norm()) <= 1e-15 * (1 + scale) * float(g.norm())
    g_mean = surgery("imtl-g").aggregate(torch.stack([g, scale * g]))
    torch.testing.assert_close(g_mean, 2 * scale / (1 + scale) * g, rtol=1e-14, atol=0)
    parallel = torch.stack([g, scale * g, 2 * g])
    torch.testing.assert_close(surgery("config").aggregate(parallel), parallel.sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["config", "imtl-g"])
def test_no_direction_is_taken_where_none_lowers_all_losses(name):
    G, part = rows(*DEPENDENT), surgery(name)
    assert torch.equal(part.aggregate(G), torch.zeros(2, dtype=torch.float64))
    assert part.state_dict() == {"fallbacks": 1}
    plain = G @ surgery(name, fallback="none").aggregate(G)
    assert float(plain.min()) < 0                     # what the fallback is for
    if name == "config":
        torch.testing.assert_close(plain, rows(-1.0, 1.0, 1.0), rtol=0, atol=2e-3)


def test_the_fallback_takes_the_nearest_direction_of_the_cone_where_there_is_one():
    G = rows([-1.2, -0.4, 0.02], [0.1, -1.3, 0], [-1.1, 0.5, 0.15], [1.4, 2, -0.01])       # four in three dimensions
    plain, _ = config(G, fallback="none")
    g, fell = config(G)
    assert float(cosines(plain, G).min()) < -1e-3 and bool(fell)
    total = G.sum(0)
    nu, _ = scipy.optimize.nnls(G.T.numpy(), -total.numpy())      # the nearest point: Σ g + Gᵀ ν, ν ≥ 0 of least length
    torch.testing.assert_close(g, total + torch.from_numpy(nu) @ G, rtol=1e-11, atol=1e-12)
    assert float(cosines(g, G).min()) > -1e-12 and float(g.norm()) > 0.01


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("m, P", [(3, 2), (4, 3), (5, 2), (4, 4)])
@pytest.mark.parametrize("name", ["config", "imtl-g"])
def test_dependent_gradients_leave_no_conflict(name, m, P, seed):
    G = random(m, P, seed=seed)
    assert float(cosines(surgery(name).aggregate(G), G).min()) >= -1e-6       # the tolerance of a conflict


# ---- IMTL-G ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3, 4])
def test_imtl_g_is_the_mean_whose_projections_are_equal(m):
    G = random(m, 30, seed=m).abs()                            # gradients of acute angles: Σ b > 0
    g = surgery("imtl-g").aggregate(G)
    U = G / G.norm(dim=1, keepdim=True)
    # The definition as a linear system: (u_1 − u_i)·Σ α_j g_j = 0 and Σ α_j = 1.
    A = torch.cat([(U[:1] - U[1:]) @ G.T, torch.ones(1, m, dtype=torch.float64)])
    alpha = torch.linalg.solve(A, torch.eye(m, dtype=torch.float64)[-1])
    torch.testing.assert_close(g, alpha @ G, rtol=1e-11, atol=1e-12)


def test_imtl_g_notices_that_its_weights_have_a_negative_sum():
    G = rows([1, 0.2, 0], [1, -0.2, 0], [0.5, 0, 0.02])       # a_3 < 0 is divided by the smallest length
    plain, wrong = imtl_g(G, fallback="none")
    assert bool(wrong) and float((G @ plain).max()) < 0        # the published step raises every loss
    part = surgery("imtl-g")
    assert float((G @ part.aggregate(G)).min()) >= 0
    assert part.state_dict() == {"fallbacks": 1}
    assert not bool(imtl_g(rows([1, 0.2, 0], [1, -0.2, 0], [0.5, 0, 2.0]), fallback="none")[1])


# ---- PCGrad ----------------------------------------------------------------------------------------------------


def test_pcgrad_of_two_gradients_by_hand():
    # g_1·g_2 = −1: h_1 = (1, 0) + ½ (−1, 1) = (½, ½) and h_2 = (−1, 1) + (1, 0) = (0, 1)
    torch.testing.assert_close(surgery("pcgrad").aggregate(rows([1, 0], [-1, 1])), rows(0.5, 1.5), rtol=0, atol=1e-16)
    agreeing = rows([1, 0.0], [1, 1])
    assert torch.equal(surgery("pcgrad").aggregate(agreeing), agreeing.sum(0))


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("shuffled", [False, True])
def test_pcgrad_is_what_the_algorithm_does_with_vectors(m, shuffled):
    G = skewed(m, 6)
    generator = torch.Generator().manual_seed(3) if shuffled else None
    order = torch.rand(m, m, generator=torch.Generator().manual_seed(3)).argsort(1).tolist() if shuffled \
        else [list(range(m))] * m
    want = torch.zeros(6, dtype=torch.float64)
    for i in range(m):
        h = G[i].clone()
        for j in order[i]:
            if j != i and float(h @ G[j]) < 0:
                h -= (h @ G[j]) / (G[j] @ G[j]) * G[j]
        want += h
    g = surgery("pcgrad").aggregate(G, generator)
    torch.testing.assert_close(g, want, rtol=1e-9, atol=1e-12 * float(G.abs().max()))     # lengths differ by 1e6


def test_pcgrad_shuffles_by_the_generator():
    G = skewed(4, 3)
    results = {tuple(surgery("pcgrad").aggregate(G, torch.Generator().manual_seed(s)).tolist()) for s in range(8)}
    assert len(results) > 1


# ---- the cone --------------------------------------------------------------------------------------------------


def gradients_of_kind(kind, m, seed):
    G = random(m, 12, seed=seed)
    if kind == "dependent":
        G[-1] = -0.5 * G[0] + 0.3 * G[1]
    if kind == "parallel":
        G[-1] = 3 * G[0]
    if kind == "antiparallel":
        G[-1] = -2 * G[0]
    if kind == "zero":
        G[-1] = 0
    return G


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize("m", [2, 3, 5, 10])
@pytest.mark.parametrize("kind", ["independent", "dependent", "parallel", "antiparallel", "zero"])
def test_the_projection_on_the_cone_is_feasible_and_complementary(kind, m, metric):
    G = gradients_of_kind(kind, m, seed=m)
    p = -G.sum(0) + random(12, seed=99)
    inverse = random(12, seed=5).exp() if metric else torch.ones(12, dtype=torch.float64)
    x, changed = project(p, G, inverse)
    assert bool(changed)
    U = G / G.norm(dim=1, keepdim=True).clamp(min=1e-300)
    scale = float(p.norm())
    assert float((U @ x).min()) > -1e-12 * scale
    # D (x − p) = Gᵀ ν with ν ≥ 0 and ν·G x = 0: the conditions of optimality, with ν found by another solver
    force = (x - p) / inverse / scale
    nu, rest = scipy.optimize.nnls(U.T.numpy(), force.numpy())
    assert rest < 1e-11
    assert abs(float(force @ x)) < 1e-11 * scale


def test_a_feasible_direction_stays_bit_by_bit():
    G = random(3, 8)
    p = surgery("config").aggregate(G)
    x, changed = project(p, G)
    assert torch.equal(x, p) and not bool(changed)
    assert torch.equal(project(torch.zeros(8, dtype=torch.float64), G)[0], torch.zeros(8, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_projection_does_not_depend_on_scales(scale):
    G, p = random(3, 8), -random(3, 8).sum(0)
    one = project(p, G)[0]
    lengths = rows(scale, 1, 1 / scale)
    torch.testing.assert_close(project(scale * p, lengths[:, None] * G)[0] / scale, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", [8, 9])
def test_both_solvers_of_the_dual_find_the_minimum(m):
    A, b = random(m, 20), random(m, seed=1)
    K = A @ A.T
    nu = nonnegative(K, b)
    slack = K @ nu + b
    assert float(nu.min()) >= 0 and float(slack.min()) > -1e-12
    assert float((nu * slack).abs().max()) < 1e-12
    assert float(nu.max()) > 0


def test_conflicts_of_a_direction_are_counted_by_cosines():
    G = rows([1, 0], [0, 2], [-3, 0], [0, 0])
    assert cosines(rows(1, 1), G).tolist() == pytest.approx([0.5**0.5, 0.5**0.5, -(0.5**0.5), 0])
    assert float(conflict_rate(rows(1, 1), G)) == 0.25
    assert bool(conflicts(rows(1, 1), G)) and not bool(conflicts(rows(0, 1), G))
    assert not bool(conflicts(rows(-1e-7, 1), G)) and bool(conflicts(rows(-1e-5, 1), G))


def test_the_alignment_score_is_the_cosine_of_two_vectors():
    V = random(2, 9)
    want = float(V[0] @ V[1] / V[0].norm() / V[1].norm())
    assert float(alignment(V * rows([1e-3], [1e5]))) == pytest.approx(want, abs=1e-15)
    assert float(alignment(torch.eye(3, dtype=torch.float64))) == pytest.approx(-1 / 3, abs=1e-15)
    assert float(alignment(rows([2, 1], [4, 2], [6, 3]))) == pytest.approx(1, abs=1e-15)


# ---- precision and devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("name", SURGERIES)
def test_directions_do_not_depend_on_the_default_dtype(name, m, dtype, default, device):
    G = skewed(m, 10)
    want = surgery(name).aggregate(G)
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        have = surgery(name).aggregate(G.to(device, dtype))
    finally:
        torch.set_default_dtype(before)
    assert have.dtype == dtype and have.device.type == device.type
    exact = surgery(name).aggregate(G.to(dtype).double())              # a float32 gradient is exact in float64
    torch.testing.assert_close(have.cpu().double(), exact, rtol=1e-6 if dtype == torch.float32 else 1e-11,
                               atol=0.0 if dtype == torch.float32 else 1e-11)
    if dtype == torch.float64:
        torch.testing.assert_close(have.cpu(), want, rtol=1e-11, atol=1e-11)


class HostTraffic(TorchDispatchMode):
    """Notes operations that make a host wait for its device, or copy numbers from Python to it."""

    WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::equal"}

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in self.WAITING:
            self.found.append(function._schema.name)
        return function(*args, **(kwargs or {}))


def test_directions_of_two_losses_wait_for_no_device(generator):
    G, p = random(2, 6), random(6)
    parameters = [torch.nn.Parameter(random(6))]
    optimizer = MultiAdam(parameters)
    calls = {**{name: lambda name=name: surgery(name).aggregate(G, generator) for name in SURGERIES},
             "pcgrad of five": lambda: surgery("pcgrad").aggregate(random(5, 6), generator),
             "dual": lambda: nonnegative(random(3, 6) @ random(3, 6).T, random(3)),
             "conflicts": lambda: conflicts(p, G),
             "multiadam": lambda: optimizer.step(lambda i: (G[i].sum(), G[i]), 2)}
    for what, call in calls.items():
        with HostTraffic() as traffic:
            call()
        assert not traffic.found, what


@pytest.mark.parametrize("name", SURGERIES)
def test_numbers_that_are_not_finite_are_not_left_out(name):
    G = random(2, 5)
    G[0, 2] = math.nan
    assert not bool(torch.isfinite(surgery(name).aggregate(G)).all())


# ---- by name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options, sentence", [
    ("config", {"groups": "all"}, "unknown groups 'all'"),
    ("config", {"length": "median"}, "unknown config.length 'median'"),
    ("config", {"fallback": "pray"}, "unknown config.fallback 'pray'"),
    ("config", {"weights": [1, -2]}, "must be positive numbers"),
    ("config", {"weights": 3}, "must be positive numbers"),
    ("imtl-g", {"fallback": "zero"}, "unknown imtl-g.fallback"),
    ("pcgrad", {"group": "each"}, "unknown option of balancer pcgrad 'group'; did you mean 'groups'"),
    ("gua", {"rho_m": 1.5}, "gua.rho_m=1.5 must be in"),
    ("gua", {"rho_v": -0.1}, "gua.rho_v=-0.1 must be in"),
    ("gua", {"metric": "soap"}, "unknown gua.metric"),
    ("gua", {"tolerance": -1.0}, "gua.tolerance=-1.0 must be in"),
])
def test_an_option_that_makes_no_sense_gets_a_sentence(name, options, sentence):
    with pytest.raises(ProblemError, match=sentence):
        build_balance(name, {name: options})


def test_one_part_of_each_kind_can_be_joined():
    assert set(build_balance("grad-norm+config+gua", {}).parts) == {"grad-norm", "config", "gua"}
    with pytest.raises(ProblemError, match="config and pcgrad, both surgery on gradients"):
        build_balance("config+pcgrad", {})
    assert {"config", "pcgrad", "imtl-g", "gua"} <= set(BALANCERS)


def test_conditions_of_one_preconditioner_share_a_loss():
    class Named:
        def __init__(self, name, kind):
            self.name, self.kind = name, kind

    blocks = [Named("f", "equation"), Named("g", "equation"), Named("wall", "dirichlet"), Named("start", "initial")]
    assert grouped(blocks, "each") == [["f"], ["g"], ["wall"], ["start"]]
    assert grouped(blocks, "kind") == [["f", "g"], ["wall", "start"]]
    assert grouped(blocks[:2], "kind") == [["f", "g"]]
    assert grouped(blocks, "each", [("f", "wall")]) == [["f", "wall"], ["g"], ["start"]]
    assert grouped(blocks, "kind", [("g", "start")]) == [["f", "g", "wall", "start"]]
