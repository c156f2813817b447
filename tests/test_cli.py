"""Each command does what its help says, with plain output in a pipe and live output on a terminal."""

from __future__ import annotations

import json
import time

import h5py
import pytest
import torch
from rich.console import Console
from small import HEAT, SMALL, command, inverse, write

import sciml
from sciml.cli import show
from sciml.cli.interruption import Interruption
from sciml.cli.options import recipe_notes, value_of
from sciml.objective import Recipe, make_recipe
from sciml.training import Report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the heat equation, its figures not drawn."""
    folder = tmp_path_factory.mktemp("heat")
    assert command("solve", write(folder), "--steps", 5, "--no-figures", "--out", folder / "run") == 0
    return folder / "run"


def test_solve_keeps_everything_that_a_run_folder_holds(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    assert command("solve", path, "--steps", 5) == 0
    out = capsys.readouterr()
    folder = tmp_path / "runs" / "heat-0"
    assert {p.name for p in folder.iterdir()} == {
        "problem.py", "config.json", "metrics.jsonl", "checkpoint.pt", "solution.h5", "result.json", "figures"}
    assert (folder / "figures" / "solution.png").stat().st_size > 1000
    result = json.loads((folder / "result.json").read_text())
    assert {"status", "relative_l2", "null_score", "seconds", "steps", "seed", "device", "dtype", "parameters",
            "versions"} <= set(result)
    assert (result["status"], result["steps"], result["seed"]) == ("ok", 5, 0)
    assert 0 < result["seconds"] < result["wall_seconds"]
    assert f"5 steps in {result['seconds']:.1f} s of training (this call: {result['wall_seconds']:.1f} s" in out.out
    assert sciml.Solution.load(folder).wall_seconds == result["wall_seconds"]
    with h5py.File(folder / "solution.h5") as file:
        assert list(file.attrs["order"]) == ["x", "t"]
        assert set(file) >= {"coordinates", "prediction", "reference", "points"}
    for text in ("Heat equation", "step 5", "relative L2 error", "best constant", "run folder runs/heat-0"):
        assert text in out.out
    assert out.err == ""
    assert "\x1b" not in out.out


def test_the_help_says_which_seconds_a_budget_counts(capsys):
    assert command("solve", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "imports, the reference, reports, checkpoints and figures come on top" in text and "wall_seconds" in text


def test_each_run_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    for _ in range(2):
        assert command("solve", path, "--steps", 1, "--no-figures") == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["heat-0", "heat-1"]


def test_a_problem_is_found_by_name_in_the_current_folder_and_in_problems(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, name="here.py")
    (tmp_path / "problems").mkdir()
    write(tmp_path / "problems", name="there.py")
    write(tmp_path, "x = 1", name="other.py")
    (tmp_path / "problems" / "broken.py").write_text("problem = (")
    assert command("check", "here") == 0
    assert command("check", "there") == 0
    capsys.readouterr()
    assert command("list", "problems") == 0
    listed = capsys.readouterr().out
    assert "here" in listed and "there" in listed and "Heat equation." in listed
    assert "other" not in listed
    assert "broken" in listed and "cannot be read" in listed


def test_list_gives_a_line_for_every_choice(capsys):
    assert command("list") == 0
    out = capsys.readouterr().out
    for name in ("mlp", "gauss-newton", "lbfgs", "adam", "rad", "sobol", "tanh"):
        assert f"\n{name} " in out


def test_check_shows_equations_regions_sizes_and_trains_nothing(tmp_path, capsys):
    assert command("check", write(tmp_path), "--dtype", "float32") == 0
    out = capsys.readouterr().out
    for text in ("u, u.t, u.xx", "x ∈ (0, 1), t ∈ (0, 1); measure 1", "built in", "interior", "formula",
                 "gauss-newton in float32", "no mistakes found"):
        assert text in out
    assert not list(tmp_path.glob("runs*"))


def test_a_weight_of_a_condition_that_is_built_in_is_said_to_do_nothing(tmp_path, capsys):
    path = write(tmp_path, HEAT.replace("Dirichlet(u=0.0", "Dirichlet(weight=100, points=9, u=0.0"))
    sentence = "weight=100 and points=9 of condition 'dirichlet' do nothing: the condition is built into the field"
    assert command("check", path) == 0
    assert f"note        {sentence}" in capsys.readouterr().out
    assert command("solve", path, "--steps", 1, "--no-figures", "--out", tmp_path / "run") == 0
    assert capsys.readouterr().err.count(sentence) == 1
    assert command("check", path, "--constraints", "soft") == 0
    assert "do nothing" not in capsys.readouterr().out


def test_check_does_not_compute_a_reference_that_is_a_function(tmp_path, capsys):
    text = HEAT[:HEAT.index("    reference=")] + "    reference=solver,\n)\n"
    text = text.replace("def heat", "def solver():\n    raise SystemExit('computed')\n\ndef heat")
    assert command("check", write(tmp_path, text)) == 0
    assert "computed by solver; not run here" in capsys.readouterr().out


def test_check_finds_a_loss_that_is_not_finite_at_the_start(tmp_path, capsys):
    text = HEAT.replace("return u.t", "return torch.sqrt(u - 100) + u.t")
    assert command("check", write(tmp_path, text)) == 2
    err = capsys.readouterr().err
    assert "not finite before training: condition 'heat' at x=" in err


def test_a_run_that_fails_exits_with_one_and_draws_its_last_good_state(tmp_path, capsys):
    text = HEAT.replace("return u.t", "return torch.sqrt(6 - u) + u.t - 20")
    run = tmp_path / "run"
    assert command("solve", write(tmp_path, text), "--out", run, "--steps", 2000, "--optimizer", "adam", "--set",
                   "adam.lr=0.5", "--constraints", "soft") == 1
    status = json.loads((run / "result.json").read_text())["status"]
    assert "is not finite" in status and "condition 'heat' at x=" in status and "step" in status
    assert status in capsys.readouterr().err
    assert (run / "figures" / "solution.png").is_file()
    loaded = sciml.Solution.load(run)
    assert loaded.status == status
    assert all(bool(torch.isfinite(p).all()) for p in loaded.objective.trainable)


def test_a_field_no_better_than_the_best_constant_is_called_so(tmp_path, capsys):
    assert command("solve", write(tmp_path), "--steps", 1, "--constraints", "soft", "--no-figures", "--optimizer",
                   "sgd", "--out", tmp_path / "run") == 0
    assert "no better than that of the best constant" in capsys.readouterr().err


def test_compare_sets_choices_against_each_other(tmp_path, capsys):
    out = tmp_path / "out"
    assert command("compare", write(tmp_path), "--vary", "optimizer=adam,gauss-newton", "--vary", "points=30,40",
                   "--steps", 2, "--seeds", 2, "--out", out) == 0
    text = capsys.readouterr().out
    assert "median error" in text
    assert text.count("optimizer=adam, points=30") == 3           # two seeds and a row of the table
    assert (out / "comparison.png").is_file()
    assert len([p for p in out.iterdir() if p.is_dir()]) == 8


def test_compare_without_a_reference_compares_losses(tmp_path, capsys):
    text = HEAT[:HEAT.index("    reference=")] + "    defaults=dict(points=30, model=dict(width=4)),\n)\n"
    assert command("compare", write(tmp_path, text), "--vary", "points=30", "--steps", 1, "--out", tmp_path / "o") == 0
    assert "median loss" in capsys.readouterr().out


def test_plot_draws_again_animates_and_exports(run, capsys):
    assert command("plot", run, "--animate", "--vtu", run.parent / "heat.vtu") == 0
    made = capsys.readouterr().out.split("\n")
    assert str(run / "figures" / "animation.gif") in made
    assert (run.parent / "heat.vtu").stat().st_size > 1000


def test_reference_says_how_it_was_made(tmp_path, capsys):
    assert command("reference", write(tmp_path)) == 0
    assert "formula (exact" in capsys.readouterr().out
    none = HEAT[:HEAT.index("    reference=")] + ")\n"
    assert command("reference", write(tmp_path, none)) == 2
    assert "has no reference" in capsys.readouterr().err


def test_reference_with_other_constants_is_computed_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("reference", "burgers", "--set", "nu=0.05", "--write", "b.h5") == 0
    assert "accuracy" in capsys.readouterr().out
    assert sciml.references.load(tmp_path / "b.h5").accuracy < 1e-8
    assert command("reference", "burgers", "--set", "nu=0.05", "--write", tmp_path / "no" / "b.h5") == 1
    assert "No such file" in capsys.readouterr().err


def test_without_arguments_the_help_is_shown(capsys):
    assert command() == 2
    assert "solve" in capsys.readouterr().out


def test_version_is_printed(capsys):
    assert command("--version") == 0
    assert sciml.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(("text", "value"), [
    ("3", 3), ("0.02", 0.02), ("1e-3", 1e-3), ("True", True), ("None", None), ("tanh", "tanh"),
    ("(0.9, 0.99)", (0.9, 0.99)),
    ("0.01/pi", 0.003183098861837907), ("2*pi", 6.283185307179586), ("pipe", "pipe"), ("9**9", "9**9"), ("1/0", "1/0"),
])
def test_values_of_settings_are_numbers_where_they_can_be(text, value):
    assert value_of(text) == value


def test_notes_are_given_where_float32_costs_accuracy():
    assert "float32" in recipe_notes(Recipe(dtype="float32", optimizer="lbfgs"))[0]
    assert recipe_notes(Recipe(dtype="float32", optimizer="adam")) == []
    assert recipe_notes(Recipe()) == []


REPORT = Report(step=1200, seconds=65.0, stage="gauss-newton", loss=1.234e-5,
                losses={f"a condition with a long name {i}": 1.2e-5 * i for i in range(6)},
                errors={"u": 1e-3, "v": 2e-3, "p": 0.5, "k": 0.1}, parameters={"k": 0.512345})


def progress() -> show.Progress:
    """Progress of the inverse problem."""
    return show.Progress(inverse(), make_recipe({}, {**SMALL, "steps": 2400}), Interruption())


def test_progress_in_a_pipe_fits_eighty_columns():
    lines = progress().line(REPORT).splitlines()
    assert max(len(line) for line in lines) <= 80
    for text in ("step 1200", "65 s", "loss 1.23e-05", "error u 1.00e-03", "k = 0.512345", "65 s left",
                 "name 5 6.00e-05"):
        assert text in " ".join(lines)


def test_progress_on_a_terminal_fits_eighty_columns():
    console = Console(width=80, force_terminal=True, record=True)
    with console.capture() as captured:
        console.print(progress().table(REPORT))
    text = captured.get()
    assert "relative L2" in text and "65 s left" in text and "k = 0.512345" in text
    assert max(len(line) for line in Console(width=200).render_str(text).plain.splitlines() if "\x1b" not in line) <= 80


def test_a_run_that_ends_when_it_is_solved_promises_no_time():
    recipe = make_recipe({}, {"model": "gaussian", "time": 900})
    assert show.Progress(inverse(), recipe, Interruption()).left(REPORT) == ""


def test_time_left_is_that_of_the_budget_that_ends_first():
    recipe = make_recipe({}, dict(steps=2400, time=100.0))
    assert show.Progress(inverse(), recipe, Interruption()).left(REPORT) == "35 s left"
    recipe = make_recipe({}, dict(steps=1300, time=100.0))
    assert show.Progress(inverse(), recipe, Interruption()).left(REPORT) == "5 s left"
    recipe = make_recipe({}, dict(time=7200.0))
    assert show.Progress(inverse(), recipe, Interruption()).left(REPORT) == "119 min left"


def test_a_terminal_gets_live_output_and_a_pipe_plain_lines(tmp_path, capsys, monkeypatch):
    console = Console(force_terminal=True, width=80)
    monkeypatch.setattr(show, "console", lambda: console)
    assert command("solve", write(tmp_path), "--steps", 3, "--no-figures", "--out", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "\x1b[?25l" in out and "\x1b[?25h" in out               # the cursor hidden and shown again
    assert "step 3" in out


def test_what_takes_over_two_seconds_says_so(capsys, monkeypatch):
    monkeypatch.setattr(show, "PATIENCE", 0.01)
    with show.working("thinking"):
        time.sleep(0.2)
    assert "thinking …" in capsys.readouterr().out
    monkeypatch.setattr(show, "PATIENCE", 60.0)
    with show.working("thinking"):
        pass
    assert capsys.readouterr().out == ""


def test_an_option_of_a_part_is_pointed_to_set(tmp_path, capsys):
    assert command("solve", write(tmp_path), "--rad.every", 5) == 2
    assert "'--rad.every': what belongs to a part is set by --set rad.every=VALUE" in capsys.readouterr().err
