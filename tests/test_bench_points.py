"""The suite of operators on points: its samples, its rows on a few voids, its tables."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import simpson

from sciml.bench import antiderivative, clouds, operators_points
from sciml.bench.plates import LAWS, RAYS, GlobalGrid, material, mirrored
from sciml.generators import Elasticity
from sciml.learning.recipe import make_operator_recipe
from sciml.samples import ArraySamples, make_samples

AXES = {"theta": torch.arange(RAYS, dtype=torch.float64) * (2 * math.pi / RAYS),
        "layer": torch.linspace(0, 1, 16, dtype=torch.float64)}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plates")
    solvers = {"o-grid": Elasticity(order=1), "scattered": Elasticity(order=1, scatter="xi_seed")}
    return {name: make_samples(folder / f"{name}.h5", LAWS, solver, AXES, {"train": 6, "test": 2}, 0, check=0)
            for name, solver in solvers.items()}


def test_both_kinds_of_nodes_have_the_same_voids(stores):
    xi = [s.read("train", ["xi"])["xi"] for s in stores.values()]
    assert torch.equal(*xi)


def test_the_mirror_image_of_a_sample_is_a_solution():
    xi = LAWS["xi"].on_grid(LAWS["xi"].draw(1, torch.Generator().manual_seed(3)), AXES)
    solver = Elasticity(order=2)
    found = solver.solve({"xi": xi}, AXES)
    fields = {"xi": xi, **{n: found[n] for n in ("x", "y", "weight", "mises")}}
    image = mirrored(ArraySamples(fields, ["xi"], AXES, splits={"train": [0], "test": [0]})).read([1], None,
                                                                                                  torch.float64)
    again = solver.solve({"xi": image["xi"]}, AXES)
    assert torch.allclose(again["x"], image["x"], atol=1e-9) and torch.allclose(again["y"], image["y"], atol=1e-9)
    difference = float((again["mises"] - image["mises"]).norm() / image["mises"].norm())
    assert difference < 0.05                    # diagonals of the cells are not mirrored: 4 % is the solver's own error


def test_material_is_outside_of_the_void():
    mask = material(torch.zeros(1, RAYS, dtype=torch.float64), 41)[0]          # ξ = 0: a circle of radius 0.3
    x = np.linspace(0, 1, 41)
    outside = (x[:, None] - 0.5) ** 2 + (x - 0.5) ** 2 >= 0.09 - 1e-12
    assert (mask == outside).all() or abs(mask - outside).sum() <= 4           # nodes on the circle: rounding decides


def test_linear_functions_go_to_the_uniform_grid_and_back_unchanged(stores):
    held = mirrored(stores["scattered"]).read(range(8), None, torch.float64)
    held["mises"] = 1 + held["x"] - 2 * held["y"]
    grid = GlobalGrid(ArraySamples(held, ["xi"], AXES), n=21)
    assert float(grid.floor(torch.arange(8)).max()) < 1e-9


@pytest.mark.parametrize("nodes", ["o-grid", "scattered"])
@pytest.mark.parametrize("on_grid", [False, True])
def test_answers_to_a_void_and_to_its_mirror_image_are_averaged_node_by_node(stores, nodes, on_grid):
    samples = mirrored(stores[nodes])
    held = samples.read(torch.arange(len(samples)), None, torch.float64)
    held["mises"] = 1 + 2 * held["y"] if on_grid else 1 + (held["x"] - 0.5).square() - held["y"]    # both even in x
    even = ArraySamples(held, ["xi"], AXES, splits=samples.splits)
    grid = GlobalGrid(even, n=21) if on_grid else None
    source = grid.samples if grid else even
    exact = lambda index: {"mises": source.read(index, ["mises"], torch.float64)["mises"]}
    odd = lambda index: {"mises": exact(index)["mises"] + torch.where(index < 8, 0.1, -0.1).reshape(-1, *(
        (1,) * (held["mises"].ndim - 1) if grid is None else (1, 1)))}
    index = torch.tensor([6, 7])
    if grid is None:                                                        # as models on points answer
        given, odd = odd, lambda index: {"mises": given(index)["mises"].reshape(len(index), -1)}
    assert float(operators_points.errors_at_points(odd, even, index, grid).min()) > 0.01
    assert float(operators_points.errors_at_points(odd, even, index, grid, averaged=True).max()) < 1e-9


@pytest.mark.parametrize("key", ["plates-o-grid-ring", "plates-o-grid-square", "plates-o-grid-geo-fno",
                                 "plates-scattered-square", "plates-scattered-nuno", "plates-scattered-mesh-operator"])
def test_a_row_is_measured_on_a_few_voids(stores, key):
    row = next(r for r in operators_points.ROWS if r.key == key)
    found = operators_points.measure(replace(row, options={**row.options, "epochs": 1, "batch": 4}), 0, "cpu",
                                     stores[row.nodes])
    assert found["steps"] == 3 and found["status"] == "ok" and found["test"] == [6, 7]        # twelve with images
    assert len(found["errors"]) == 2 and found["averaged"] > 0 and 0 < found["error"] <= found["worst"] < 10
    assert (row.sees == "square") == ("interpolation" in found)


def test_every_row_has_a_file_of_its_own_and_a_recipe_that_is_valid():
    assert len(set(operators_points.KEYS)) == len(operators_points.KEYS)
    for row in operators_points.ROWS:
        assert make_operator_recipe({}, row.options).epochs


def test_solutions_on_clouds_satisfy_the_equation_and_the_boundary_values():
    generator = torch.Generator().manual_seed(0)
    a = clouds.functions(3, generator)
    X = torch.rand(20, 2, generator=generator, dtype=torch.float64).requires_grad_()
    f, u = clouds.values(a, X)
    for b in range(3):
        g = torch.autograd.grad(u[b].sum(), X, create_graph=True)[0]
        laplacian = sum(torch.autograd.grad(g[:, d].sum(), X, retain_graph=True)[0][:, d] for d in (0, 1))
        assert torch.allclose(-laplacian, 15 * f[b, :, 0], rtol=1e-9, atol=1e-9)
    edge = torch.tensor([[0.0, 0.3], [1.0, 0.2], [0.4, 0.0], [0.7, 1.0]], dtype=torch.float64)
    assert float(clouds.values(a, edge)[1].abs().max()) < 1e-12


@pytest.mark.parametrize("weights", clouds.WEIGHTS)
def test_the_clouds_are_learnt_from_and_tried(weights):
    found = clouds.measure(weights, 0, steps=2, width=4, layers=1, hidden=4, projection=4, radius=0.1)
    assert found["error"] > 0 and found["other"] > 0 and found["steps"] == 2


def test_antiderivatives_are_integrals():
    v, u = antiderivative.functions(4, torch.Generator().manual_seed(0))
    s = np.linspace(0, 1, antiderivative.SENSORS)
    assert np.allclose(u[:, -1], simpson(v.numpy(), x=s, axis=1), atol=1e-6)   # two rules of fourth order
    assert np.allclose(u[:, 50], simpson(v.numpy()[:, :51], x=s[:51], axis=1), atol=1e-6)
    assert float(u[:, 0].abs().max()) == 0
    found = antiderivative.measure(0, steps=3, width=8, depth=1, functions=4)
    assert found["error"] > 0 and found["steps"] == 3


def test_tables_have_medians_ranges_and_the_ratio_to_one_uniform_grid(tmp_path):
    common = {"parameters": 10, "epochs": 2, "cpu": 3.0, "training": 0.1, "worst": 0.5, "operator seconds": 0.001,
              "null": 0.6, "solver seconds": 0.2, "solver error": 0.04, "interpolation": 0.08}
    for method, errors in (("square", [0.4, 0.3, 0.5]), ("nuno", [0.1, 0.2, 0.1])):
        for seed, error in enumerate(errors):
            path = tmp_path / f"plates-scattered-{method}-cpu-seed{seed}.json"
            averaged = error / 2 if method == "nuno" else error
            path.write_text(json.dumps({**common, "error": error, "averaged": averaged}))
    table = operators_points.tables("cpu", tmp_path)["operators-plates-scattered"]
    row = next(line for line in table.splitlines() if line.startswith("| NUNO, six"))
    assert "| **0.100** | 0.100 – 0.200 |" in row
    assert "| 0.250 | 0.050 | 0.125 | 0.06 |" in row and row.endswith("| 3 |")
    assert "Mean field 0.60; interpolation to the uniform grid and back alone 0.080." in table


def test_tables_without_results_are_empty(tmp_path):
    assert set(operators_points.tables("cpu", tmp_path).values()) == {""}
