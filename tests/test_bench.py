"""The suite of samplers: its rows, its tables, and that a suite goes on where it stopped."""

import json

import pytest
from small import SMALL, command

from sciml.bench import SUITES, gaussians, methods, million, purchases, run_suite, sampling
from sciml.bench.row import Row
from sciml.errors import ProblemError
from sciml.geometry import Mesh
from sciml.mesh.structured import box
from sciml.objective import make_recipe
from sciml.problem import load_problem
from sciml.sampling import SAMPLERS


def keep(row, out, errors, steps=10):
    for seed, error in enumerate(errors):
        (out / f"{row.key}-cpu-seed{seed}.json").write_text(json.dumps({"error": error, "steps": steps}))


def test_every_row_is_a_valid_recipe_of_a_sampler_that_there_is_and_has_a_file_of_its_own():
    rows = SUITES["sampling"]
    assert {row.options["sampler"] for row in rows} <= set(SAMPLERS)
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        recipe = make_recipe(load_problem(row.problem).defaults, {**row.budget, **row.options})
        assert recipe.sampler == row.label.split(",")[0]


def test_each_table_holds_the_baselines():
    for table in (sampling.first_order(), sampling.second_order(), sampling.scarce(), sampling.few_points()):
        assert {"fixed", "uniform", "sobol" if table[0].method[:5] != "first" else "rad"} <= {r.label for r in table}


def test_samplers_that_are_not_there_are_left_out():
    found = sampling.rows("first", "heat", {"fixed": {}, "not-yet": {"not-yet.every": 1}}, 5, {})
    assert [row.label for row in found] == ["fixed"]


def test_a_table_has_median_ratio_and_range_of_each_sampler(tmp_path):
    fixed, uniform = (Row("heat", 0, None, label=n, method=f"first-{n}", steps=1000) for n in ("fixed", "uniform"))
    keep(fixed, tmp_path, [0.4, 0.1, 0.2], 1000)
    keep(uniform, tmp_path, [0.05, 0.1, 0.2], 1000)
    lines = sampling.markdown([fixed, uniform], "cpu", tmp_path).splitlines()
    assert lines[0] == "| sampler | heat, 1,000 steps |"
    assert lines[2] == "| fixed | **2.0e-01** (2); 1.0e-01 – 4.0e-01 |"
    assert lines[3] == "| uniform | **1.0e-01** (1); 5.0e-02 – 2.0e-01 |"
    assert lines[-1] == "Seeds: 3."
    assert sampling.with_published("\n".join(lines)).splitlines()[2].endswith("4.0e-01 | 107.5 % |")


def test_a_table_without_results_is_empty(tmp_path):
    assert set(sampling.tables(SUITES["sampling"], "cpu", tmp_path).values()) == {""}


def test_a_suite_is_run_row_by_row_shortened_continued_and_written(tmp_path):
    tables = tmp_path / "tables.md"
    names = ["sampling-first-order", "sampling-second-order", "sampling-scarce", "sampling-few-points",
             "sampling-cost"]
    tables.write_text("\n".join(f"<!-- bench:{n} -->\n<!-- /bench:{n} -->" for n in names))
    arguments = dict(only=["first-fixed", "first-uniform"], seeds=1, out=tmp_path / "out", time=0.2)
    lines = list(run_suite("sampling", write=tables, **arguments))
    assert [line.split(" seed")[0] for line in lines[:2]] == [
        "convection-weight100 first-fixed", "convection-weight100 first-uniform"]
    assert (tmp_path / "out" / "convection-weight100-first-fixed-0.2s-cpu-seed0.json").is_file()
    assert "| fixed | **" in tables.read_text() and "convection, 0.2 s" in tables.read_text()
    assert not any("seed" in line for line in list(run_suite("sampling", **arguments))[:1])
    with pytest.raises(ProblemError, match="unknown row 'first-fixd'"):
        list(run_suite("sampling", only=["first-fixd"], out=tmp_path))


def test_purchases_are_valid_recipes_and_their_table_states_how_many_were_chosen_by_what(tmp_path):
    assert len({row.key for row in purchases.ROWS}) == len(purchases.ROWS)
    for row in purchases.ROWS:
        recipe = make_recipe(load_problem(row.problem).defaults, {**row.budget, **row.options})
        options = recipe.options[recipe.sampler]
        assert options["budget"] == 5 * options["measurements"] == int(row.method.rsplit("-", 1)[1])
        assert 4 * options["every"] < row.steps / 2          # most of the training sees all that is bought
    assert purchases.table("cpu", tmp_path) == ""
    row = next(r for r in purchases.ROWS if r.label == "information")
    for seed, error in enumerate((0.02, 0.1, 0.04)):
        (tmp_path / f"{row.key}-cpu-seed{seed}.json").write_text(json.dumps({"error": error, "cpu": 8.4}))
    assert purchases.table("cpu", tmp_path).splitlines()[2] == \
        "| vortex inverse | information | 10 | **4.0%** | 2.0% – 10.0% | 8 | 3 |"


def test_the_cost_of_a_sampler_is_the_share_of_its_own_steps():
    found = sampling.cost(steps=20, samplers={"fixed": {}, "rad": {"rad.every": 1, "rad.pool": 100}, "not-yet": {}})
    assert [r["sampler"] for r in found] == ["fixed", "rad"]
    assert 0 <= found[0]["share"] < found[1]["share"] < 1            # a pool of 100 N at each step is dear
    assert sampling.cost_markdown(found).splitlines()[2].startswith("| fixed | ")


def test_the_command_takes_seconds_per_row(tmp_path, capsys):
    assert command("bench", "--suite", "sampling", "--only", "first-fixed", "--seeds", 1, "--time", 0.1,
                   "--out", tmp_path) == 0
    assert "convection-weight100 first-fixed seed 0" in capsys.readouterr().out


def test_steps_at_equal_cost_follow_from_costs_measured_in_turns(monkeypatch):
    monkeypatch.setattr(methods, "FIRST_ORDER", {"Adam": dict(optimizer="adam"),
                                                 "M-ConFIG": dict(optimizer="m-config")})
    monkeypatch.setattr(methods, "_options", lambda o: {**SMALL, "constraints": "soft", **o})
    found = methods.costs(Row("heat", 1, None), rounds=2, steps=2)
    assert found["adam"] == 1.0 and 0.05 < found["m-config"] < 20
    row = methods.METHODS[0]
    assert methods.steps_of(row, 1.0) == row.time * methods.RATE and methods.steps_of(row, 1.5) == row.time * 100 / 1.5


def test_the_table_of_methods_states_steps_and_ratios(tmp_path):
    for seed, error in enumerate((0.2, 0.1, 0.4)):
        for row, factor in zip(methods.METHODS[:2], (1, 2), strict=True):
            path = tmp_path / f"{row.key}-cpu-seed{seed}.json"
            path.write_text(json.dumps({"error": factor * error, "steps": 6000}))
    text = methods.table("cpu", tmp_path)
    assert "| Adam | 2.0e-01 (1); 1.0e-01 – 4.0e-01; 6,000 steps | – | – |" in text
    assert "| MultiAdam | 4.0e-01 (2);" in text


def test_gaussian_fields_stand_beside_the_recipes_of_the_problems(tmp_path):
    row = next(r for r in gaussians.ROWS if r.problem == "heat")
    recipe = next(r for r in SUITES["full"] if r.name == "heat" and not r.method)
    kept = {"steps": 1, "seconds": 1.5, "parameters": 784, "model": "gaussian", "optimizer": "least-squares"}
    (tmp_path / f"{row.key}-cpu-seed0.json").write_text(json.dumps({"error": 1e-9, **kept}))
    (tmp_path / f"{recipe.key}-cpu-seed0.json").write_text(
        json.dumps({"error": 1e-7, "seconds": 20.0, "optimizer": "gauss-newton"}))
    text = gaussians.table("cpu", tmp_path, SUITES["full"])
    assert "| heat | gaussian, least-squares | 784 | 1 | 1.5 | **1.0e-09** | 1.0e-09 – 1.0e-09 | – | 1 | " \
        "gauss-newton | 20 | 1.0e-07 |" in text
    assert gaussians.table("cpu", tmp_path / "none", SUITES["full"]) == ""


@pytest.mark.parametrize("along", [(4, 3), (2, 2, 2)])
def test_the_files_of_a_million_cells_are_read_as_the_mesh_that_was_saved(tmp_path, along):
    made = box([(0.0, 1.0)] * len(along), along)
    million.save(made, tmp_path / "a.msh", tmp_path / "a.vtu")
    for file in ("a.msh", "a.vtu"):
        read = Mesh(tmp_path / file).complex
        assert sum(map(len, read.blocks)) == sum(map(len, made.blocks)) and len(read.X) == len(made.X)
        assert len(read.surfaces) == 2 * len(along)


def test_every_task_on_a_million_cells_has_seconds_and_memory(tmp_path):
    files = tmp_path / "a.msh", tmp_path / "a.vtu"
    million.save(box([(0.0, 1.0)] * 3, (2, 2, 2)), *files)
    work = zip([t for t in million.TASKS if t != "the same once more"], [*files, None, None], strict=True)
    rows = [row for task, file in work for row in million.timed_task(task, (2, 2, 2), 10, file)]
    assert [r["task"] for r in rows] == list(million.TASKS)
    assert all(r["seconds"] > 0 and r["gigabytes"] >= 0 for r in rows)
    table = million.markdown([{"mesh": "tetrahedra", "cells": 48, **r} for r in rows])
    assert table.count("| 48 tetrahedra |") == len(million.TASKS)
