"""Channel flow by finite elements: exact flow, orders of convergence, conservation, and the way to an operator."""

import math

import pytest
import torch

from sciml import learn
from sciml.elements.space import Space
from sciml.errors import ProblemError
from sciml.generators import Channel
from sciml.generators.channel import channel
from sciml.inputs import GaussianRandomField
from sciml.samples import make_samples

AXES = {"r": torch.linspace(0, 2, 17, dtype=torch.float64), "s": torch.linspace(0, 1, 9, dtype=torch.float64)}
LAW = GaussianRandomField("neumann", sigma=4.0, tau=5.0, alpha=2.0, over=("r",), modes=3).bind({"r": (0.0, 2.0)})


def bump(r, height=0.3):
    """A wall of zero slope at both ends, where the data of inlet, wall and outlet then agree."""
    return height / 2 * (1 - torch.cos(math.pi * r))


def test_between_flat_walls_the_flow_is_poiseuille_flow_of_flux_one():
    b = torch.stack([torch.full_like(AXES["r"], 0.2), torch.full_like(AXES["r"], -0.3)])
    found = Channel(nu=0.05).solve({"b": b}, AXES)
    gap, s = 1 - b[:, :1, None], AXES["s"]
    exact = {"u": 6 * s * (1 - s) / gap, "v": 0 * gap, "p": 12 * 0.05 / gap**3 * (2 - AXES["r"])[:, None]}
    for name, values in exact.items():                     # quadratic in y, linear in x: the elements hold it
        assert torch.allclose(found[name], values.expand_as(found[name]), atol=1e-11)
    assert torch.allclose(found["weight"].sum((1, 2)), 2 * gap[:, 0, 0])


def test_velocities_converge_with_order_three_and_pressures_with_two():
    reference = Channel(refine=8).solve({"b": bump(AXES["r"])[None]}, AXES)
    errors = {name: [] for name in "uvp"}
    for refine in (1, 2):
        axes = {n: torch.linspace(0, float(x[-1]), refine * (len(x) - 1) + 1, dtype=torch.float64)
                for n, x in AXES.items()}
        found = Channel().solve({"b": bump(axes["r"])[None]}, axes)
        for name, each in errors.items():
            difference = found[name][:, ::refine, ::refine] - reference[name]
            each.append(float(difference.norm() / reference[name].norm()))
    orders = {name: math.log2(a / b) for name, (a, b) in errors.items()}
    assert errors["u"][0] < 0.02 and errors["p"][0] < 0.05, errors
    assert orders["u"] > 2.6 and orders["v"] > 2.6, orders           # 3 in the limit; the first grid is coarse
    assert orders["p"] > 1.7, orders


def test_a_refined_channel_is_the_finer_grids_solution_at_the_nodes():
    b = bump(AXES["r"])[None]
    fine = {n: torch.linspace(0, float(x[-1]), 2 * len(x) - 1, dtype=torch.float64) for n, x in AXES.items()}
    one, other = Channel(refine=2).solve({"b": b}, AXES), Channel().solve({"b": bump(fine["r"])[None]}, fine)
    for name in "uvp":                                     # apart from the spline of the wall, 2e-4 of its height
        assert torch.allclose(one[name], other[name][:, ::2, ::2], atol=2e-3 * float(other[name].abs().max()))


def test_as_much_flows_through_every_section():
    found = Channel(refine=4).solve({"b": bump(AXES["r"])[None]}, AXES)
    gap = 1 - bump(AXES["r"])
    simpson = torch.tensor([1, 4, 2, 4, 2, 4, 2, 4, 1], dtype=torch.float64) / 24        # cubic profiles are exact
    flux = gap * (found["u"][0] @ simpson)
    assert torch.allclose(flux, torch.ones_like(flux), atol=5e-3), flux


def test_the_accuracy_is_that_of_half_the_spacing():
    coefficients = LAW.draw(2, torch.Generator().manual_seed(0))
    found = Channel().accuracy(lambda axes: {"b": LAW.on_grid(coefficients, axes)}, AXES)
    assert 1e-4 < found.error < 0.1 and "17×9 nodes from 33×17 nodes" in found.how


def test_the_channel_is_filled_by_its_cells():
    b = bump(AXES["r"])
    made = channel(b, AXES["r"], AXES["s"])
    area = sum(float(e.weights.sum()) for e in Space(made, 2).cells(5))
    assert abs(area - (2 - 0.3)) < 1e-4                    # a wall of parabolas, where the bump is a cosine
    assert {n: len(f) for n, f in made.surfaces.items()} == {"walls": 16, "inlet": 4, "outlet": 4}


def test_samples_are_written_and_learnt_from(tmp_path):
    store = make_samples(tmp_path / "channel.h5", {"b": LAW}, Channel(), AXES, {"train": 4, "test": 2}, seed=0,
                         check=1, progress=False)
    assert store.outputs and store.read("test", ["u"])["u"].shape == (2, 17, 9)
    found = learn(store, inputs=["x", "y"], outputs=["u", "v", "p"], steps=2, batch=2,
                  model=dict(name="fno", modes=(4, 3), width=4, layers=1))
    assert set(found.relative_l2()) == {"u", "v", "p"}
    found = learn(store, inputs=[], outputs=["u"], points=("x", "y"), weights="weight", steps=2, batch=2,
                  model=dict(name="geo-fno", deformation="none", modes=(3, 3), grid=(8, 8), width=4))
    assert found.steps == 2 and math.isfinite(found.relative_l2()["u"])


@pytest.mark.parametrize("make, sentence", [
    (lambda: Channel(nu=0.0), "nu > 0"), (lambda: Channel(refine=0), "refine ≥ 1"),
    (lambda: Channel().solve({"b": torch.ones(1, 17)}, AXES), "keep it below 0.95"),
    (lambda: Channel().solve({"b": torch.zeros(1, 17)}, {**AXES, "s": AXES["s"] + 1}), "must go from 0"),
    (lambda: Channel().solve({"b": torch.zeros(1, 17)}, {**AXES, "s": torch.linspace(0, 1, 8)}), "take 17 × 9"),
    (lambda: Channel().solve({"b": torch.zeros(1, 9)}, AXES), "of shape"),
    (lambda: Channel().solve({"b": torch.zeros(1, 17)}, AXES, torch.ones(1)), "no times"),
])
def test_wrong_inputs_of_the_channel_are_told_in_a_sentence(make, sentence):
    with pytest.raises(ProblemError, match=sentence):
        make()
