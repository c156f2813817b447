"""Optimizers of the optional package: named without it, checked at the door with it, and never imported unasked."""

import subprocess
import sys

import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml.errors import ProblemError
from sciml.objective import make_recipe
from sciml.optim import EXTRA, OPTIMIZERS, build_optimizer, is_second_order, needs, optimizer_name
from sciml.optim.extra import MUONS, NAMES


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_its_names_leave_ours_and_torchs_alone_and_exclude_other_licences():
    assert not set(EXTRA) & set(OPTIMIZERS) and len(EXTRA) == len(NAMES)
    assert not {"fromage", "nero"} & set(EXTRA)
    assert {"ademamix", "adan", "lion", "adamp", "normuon", "laprop", "grams", "mars", "spam", "conda",
            "fadam"} <= set(EXTRA)


def test_a_name_is_an_optimizer_of_first_order_without_an_import():
    code = ("import sys; from sciml.optim import *; assert optimizer_name('AdEMAMix') == 'ademamix'; "
            "assert needs('ademamix') == 'gradient' and not is_second_order('lion'); "
            "sys.exit('pytorch_optimizer' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (optimizer_name("AdEMAMix"), needs("ademamix"), is_second_order("lion")) == ("ademamix", "gradient", False)


def test_a_name_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    for given in ({"optimizer": "AdEMAMix"}, {"optimizer": "ademamix:10,lbfgs"}, {"ademamix.lr": 1e-3}):
        with pytest.raises(ProblemError, match=r"ademamix comes from .* pip install 'sciml\[optimizers\]'"):
            make_recipe({}, given)


def test_a_version_without_the_name_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", type(sys)("pytorch_optimizer"))
    with pytest.raises(ProblemError, match="has no AdEMAMix; install 4.1 or a later one"):
        build_optimizer("ademamix", [torch.nn.Parameter(torch.zeros(2))], {})


def test_a_misspelt_name_finds_the_nearest_of_all():
    with pytest.raises(ProblemError, match="did you mean 'ademamix'"):
        optimizer_name("adememix")


@pytest.mark.parametrize("name", ["muon", "normuon"])
def test_muon_and_its_kin_are_for_the_first_stage_only(name):
    if name != "muon":
        pytest.importorskip("pytorch_optimizer", reason="needs the extra sciml[optimizers]")
    with pytest.raises(ProblemError, match=f"{name} orthogonalises .* put it first, as in {name}:1000,adam"):
        make_recipe({}, {"optimizer": f"adam:5,{name}"})
    make_recipe({}, {"optimizer": f"{name}:5,adam"})


def test_torchs_muon_has_no_weight_decay_of_its_own():
    matrix = [torch.nn.Parameter(random(3, 3))]
    assert build_optimizer("muon", matrix, {}).param_groups[0]["weight_decay"] == 0.0
    assert build_optimizer("muon", matrix, {"weight_decay": 0.1}).param_groups[0]["weight_decay"] == 0.1


# ---- with the package ------------------------------------------------------------------------------------------


@pytest.fixture
def package():
    """The package, or the reason why its tests are skipped."""
    return pytest.importorskip("pytorch_optimizer", reason="needs the extra sciml[optimizers]")


SHAPES = [(4, 3), (4,), (1, 4), (1,)]


@pytest.mark.parametrize("name", EXTRA)
def test_every_name_moves_matrices_and_vectors_by_their_gradients_alone(name, package):
    dtype = torch.float32 if name == "fadam" else torch.float64          # FAdam is written for float32
    params = [torch.nn.Parameter(random(*s, seed=k).to(dtype)) for k, s in enumerate(SHAPES)]
    start = [p.detach().clone() for p in params]
    optimizer = build_optimizer(name, iter(params), {})
    assert sorted(map(id, (p for g in optimizer.param_groups for p in g["params"]))) == sorted(map(id, params))
    for _ in range(12):
        optimizer.zero_grad()
        sum((p - 1).square().sum() for p in params).backward()
        optimizer.step()
    assert all(bool(torch.isfinite(p).all()) and p.dtype == dtype for p in params)
    assert any(not torch.equal(p, s) for p, s in zip(params, start, strict=True))


def test_what_does_not_take_float64_is_refused_at_the_door(package):
    with pytest.raises(ProblemError, match="fadam of pytorch_optimizer does not take .* in float64"):
        sciml.solve(inverse(), optimizer="fadam", steps=2, **SMALL)


def test_kin_of_muon_take_matrices_and_all_others_in_groups(package):
    assert {m.lower() for m in MUONS} <= set(EXTRA)
    params = [torch.nn.Parameter(random(*s)) for s in SHAPES]
    groups = build_optimizer("normuon", params, {}).param_groups
    assert [(g["use_muon"], len(g["params"])) for g in groups] == [(True, 2), (False, 2)]


def test_options_are_checked_and_rates_follow_the_schedule(package):
    with pytest.raises(ProblemError, match="unknown option of optimizer ademamix 'beta'; did you mean 'betas'"):
        make_recipe({}, {"optimizer": "ademamix", "ademamix.beta": 1})
    solution = sciml.solve(inverse(), optimizer="ademamix", steps=20, report=0.0, **{"ademamix.lr": 5e-3}, **SMALL)
    assert solution.status == "ok" and solution.history[-1]["loss"] < solution.history[0]["loss"]
    assert solution.history[-1]["learning_rate"] < 1e-3 < solution.history[1]["learning_rate"]


def test_a_run_with_it_is_resumed_bit_for_bit(package, tmp_path):
    options = {**SMALL, "optimizer": "adamp"}
    whole = sciml.solve(inverse(), steps=8, **options)
    count = iter(range(100))
    sciml.solve(inverse(), steps=8, out=tmp_path, stop=lambda: "cut" if next(count) >= 4 else "", **options)
    resumed = sciml.solve(inverse(), steps=8, out=tmp_path, resume=True, **options)
    for key, value in whole.state["objective"].items():
        assert torch.equal(value, resumed.state["objective"][key])
