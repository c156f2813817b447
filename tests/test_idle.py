"""An option that nothing listens to is allowed, and said to do nothing."""

from __future__ import annotations

import pytest
from small import command, write

from sciml.objective import Recipe, idle_parts, idle_settings, make_recipe
from sciml.objective.auto import CANDIDATES, choose


@pytest.mark.parametrize("options, sentence", [
    (dict(optimizer="ssbroyden", batch=5), "batch=5 does nothing: optimizer=ssbroyden takes all points"),
    (dict(optimizer="adam:10,ssbroyden", steps=5), "ssbroyden does nothing: the stages before it take 10 steps, and "),
    (dict(optimizer="adam:10,ssbroyden", steps=10), "steps=10 is all there is"),
])
def test_a_setting_that_no_stage_takes_is_told(options, sentence):
    assert [sentence in line for line in idle_settings(Recipe(**options))] == [True]


@pytest.mark.parametrize("options", [
    {}, dict(batch=5), dict(optimizer="adam:3,ssbroyden", batch=5, steps=4), dict(optimizer="adam:10,ssbroyden"),
])
def test_settings_that_act_are_not_mentioned(options):
    assert idle_settings(Recipe(**options)) == []


def test_options_of_parts_that_no_recipe_uses_are_told():
    dotted = {"causal.epsilon": 2.0, "lu.every": 5, "sobol.every": 7, "varpro.inner": 3, "model.width": 5,
              "lm.damping": 1.0}
    told = idle_parts([make_recipe({}, dotted)], dotted)
    assert [line.split()[0] for line in told] == ["causal.epsilon", "lu.every", "sobol.every", "varpro.inner"]
    used = make_recipe({}, {**dotted, "optimizer": "adam:3,varpro", "balance": "causal", "sampler": "sobol"})
    assert [line.split()[0] for line in idle_parts([used], dotted)] == ["lu.every", "lm.damping"]
    others = [make_recipe({}, {"optimizer": name}) for name in ("varpro", "gauss-newton")]
    assert idle_parts(others, ["varpro.inner", "lm.damping"]) == []


def test_whatever_auto_may_choose_counts_as_used():
    for memory, options in ((1e11, {}), (1.0, {}), (1e11, {"batch": 3}), (1e11, {"balance": "config"})):
        chosen, _ = choose(900, 4000, make_recipe({}, options), memory)
        assert {stage.split(":")[0] for stage in chosen.split(",")} <= set(CANDIDATES)


def test_commands_tell_it(tmp_path, capsys):
    path = write(tmp_path)
    given = (path, "--set", "causal.epsilon=2.0", "--optimizer", "bfgs", "--batch", 5)
    assert command("check", *given) == 0
    out = capsys.readouterr().out
    assert "causal.epsilon does nothing" in out and "batch=5 does nothing" in out
    assert command("solve", *given, "--steps", 1, "--no-figures", "--out", tmp_path / "run") == 0
    said = capsys.readouterr()
    assert (said.out + said.err).count("causal.epsilon does nothing") == 1
    assert (said.out + said.err).count("batch=5 does nothing") == 1
    assert command("compare", path, "--vary", "bfgs.max_iter=1,2", "--steps", 1, "--optimizer", "adam", "--out",
                   tmp_path / "all") == 0
    said = capsys.readouterr()
    assert (said.out + said.err).count("bfgs.max_iter does nothing") == 1


def test_resuming_what_has_used_its_budget_says_so(tmp_path, capsys):
    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 2, "--no-figures", "--out", run) == 0
    assert "nothing is left" not in capsys.readouterr().out
    assert command("solve", "--resume", run, "--no-figures") == 0
    said = capsys.readouterr()
    assert "nothing is left to do: the run has taken 2 steps" in " ".join((said.out + said.err).split())
    assert command("solve", "--resume", run, "--no-figures", "--steps", 3) == 0
    said = capsys.readouterr()
    assert "nothing is left" not in said.out + said.err
