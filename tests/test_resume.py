"""A run that is cut anywhere goes on as if it had not been, and a folder is whole at any moment."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
import torch
from small import SMALL, command, inverse, write

import sciml
from sciml.errors import ProblemError
from sciml.objective import make_recipe
from sciml.solution import RunFolder
from sciml.training import Training, keeping

RECIPES = {
    "gauss-newton with rad redraws": {"optimizer": "gauss-newton", "sampler": "rad", "rad.every": 3},
    "adam with batches and a cosine schedule": {"optimizer": "adam", "batch": 20, "schedule": "cosine",
                                                "sampler": "sobol", "sobol.every": 4},
    "l-bfgs with redraws": {"optimizer": "lbfgs", "lbfgs.max_iter": 6, "sampler": "rad", "rad.every": 5},
    "ssbroyden with redraws": {"optimizer": "ssbroyden", "ssbroyden.max_iter": 3, "sampler": "rad", "rad.every": 5},
    "soap in the middle of a cycle": {"optimizer": "soap", "soap.frequency": 5, "batch": 20},
    "adam, then newton-cg with redraws": {"optimizer": "adam:4,nncg", "nncg.refresh": 3, "nncg.rank": 10,
                                          "rad.every": 3},
    "adam, then gauss-newton": {"optimizer": "adam:6,gauss-newton", "rad.every": 4},
    "adam with weights and surgery": {"optimizer": "adam", "balance": "grad-norm+config", "constraints": "soft",
                                      "grad-norm.every": 3, "grad-norm.first": 2},
    "adam with surgery in random order and projected updates": {
        "optimizer": "adam", "balance": "pcgrad+gua", "constraints": "soft", "batch": 20, "adam.lr": 0.05},
    "multiadam with projected updates and batches": {"optimizer": "multiadam", "balance": "gua", "constraints": "soft",
                                                     "batch": 20, "multiadam.lr": 0.05, "rad.every": 4},
    "m-config with a schedule": {"optimizer": "m-config", "constraints": "soft", "schedule": "cosine"},
    "imtl-g and projected updates in two stages": {"optimizer": "adam:6,sgd", "balance": "imtl-g+gua",
                                                   "constraints": "soft", "adam.lr": 0.05},
    "adam with attention, then gauss-newton": {"optimizer": "adam:6,gauss-newton", "balance": "rba+relobralo",
                                               "rad.every": 0, "relobralo.rho": 0.5},
    "gauss-newton with weights at redraws": {"optimizer": "gauss-newton", "balance": "vrba+ntk", "rad.every": 3},
    "engd": {"optimizer": "engd", "rad.every": 3},
    "engd-w with scaled rows": {"optimizer": "engd-w", "engd-w.jacobi": True, "rad.every": 4},
    "spring with redraws": {"optimizer": "spring", "rad.every": 3, "spring.lr": 0.05},
    "spring by the kernel": {"optimizer": "spring", "points": 20, "spring.form": "kernel"},
    "matrix-free gauss-newton": {"optimizer": "gauss-newton-cg", "rad.every": 4,
                                 "gauss-newton-cg.preconditioner": "units"},
    "adam, then variable projection": {"optimizer": "adam:3,varpro", "constraints": "soft", "rad.every": 4},
    "gauss-newton through lu, linearised anew": {"optimizer": "gauss-newton", "precondition": "lu", "lu.every": 5},
    "l-bfgs on differences": {"optimizer": "lbfgs", "precondition": "ilu", "ilu.every": 4,
                              "ilu.residual": "differences"},
    "adam in h-minus-1": {"optimizer": "adam", "precondition": "h-minus-1", "constraints": "soft"},
    "adam, then gauss-newton in pseudo-time": {"optimizer": "adam:8,gauss-newton", "precondition": "pseudo-time",
                                               "pseudo-time.every": 3, "rad.every": 4},
    "gauss-newton with rolling points": {"optimizer": "gauss-newton", "sampler": "rolling", "rolling.every": 3},
    "adam with uniform points": {"optimizer": "adam", "sampler": "uniform", "uniform.every": 1, "constraints": "soft"},
    "adam with r3": {"optimizer": "adam", "sampler": "r3", "constraints": "soft"},
    "m-config with r3 and batches": {"optimizer": "m-config", "sampler": "r3", "constraints": "soft", "batch": 20},
    "adam, then gauss-newton, with r3": {"optimizer": "adam:6,gauss-newton", "sampler": "r3", "r3.every": 2},
    "adam on gauss points": {"optimizer": "adam", "sampler": "gauss", "constraints": "soft", "batch": 20},
    "gauss-newton with points that are added at random": {"optimizer": "gauss-newton", "sampler": "rar-d",
                                                          "rar-d.every": 2, "constraints": "soft"},
    "l-bfgs with points that are added greedily": {"optimizer": "lbfgs", "lbfgs.max_iter": 3, "sampler": "rar-g",
                                                   "rar-g.every": 3},
    "adam with batches by importance": {"optimizer": "adam", "sampler": "importance", "importance.every": 4,
                                        "constraints": "soft"},
    "ssbroyden with vrba's density": {"optimizer": "ssbroyden", "ssbroyden.max_iter": 3, "sampler": "vrba-density",
                                      "vrba-density.every": 3},
    "adam on the largest residuals": {"optimizer": "adam", "sampler": "l-inf", "l-inf.every": 5},
    "adam on stratified points": {"optimizer": "adam", "sampler": "stratified", "stratified.every": 3},
    "adam with pinnacle-s, tested for drift": {"optimizer": "adam", "sampler": "pinnacle-s", "constraints": "soft",
                                               "pinnacle-s.every": 4, "pinnacle-s.drift_every": 3},
    "gauss-newton with pinnacle-k and bought measurements": {
        "optimizer": "gauss-newton", "sampler": "pinnacle-k", "constraints": "soft", "pinnacle-k.every": 3,
        "pinnacle-k.measurements": 2, "pinnacle-k.ahead": 2, "pinnacle-k.first": "new"},
    "adam with clipped gradients in float32": {"optimizer": "adam", "clip": 0.1, "dtype": "float32"},
}
N = 12


def stop_at(step: int):
    """Asks a run to stop after this many steps."""
    count = iter(range(10**6))
    return lambda: "stopped by the test" if next(count) >= step else ""


def state_of(solution) -> dict:
    """What must agree bit by bit: everything but clocks."""
    return {k: v for k, v in solution.state.items() if k not in ("seconds", "stage_start")}


def equal(a, b) -> bool:
    """Whether two nested states agree bit by bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("k", [1, 6, 7])
@pytest.mark.parametrize("what", RECIPES)
def test_a_resumed_run_is_the_same_bit_by_bit(what, k, tmp_path):
    options = {**SMALL, **RECIPES[what], "steps": N}
    whole = sciml.solve(inverse(), **options)
    first = sciml.solve(inverse(), out=tmp_path, stop=stop_at(k), **options)
    assert first.steps == k
    resumed = sciml.solve(inverse(), out=tmp_path, resume=True, **options)
    assert resumed.steps == N
    assert equal(state_of(whole), state_of(resumed))
    assert whole.parameters == resumed.parameters
    assert whole.relative_l2() == resumed.relative_l2()
    assert whole.history[-1]["losses"] == resumed.history[-1]["losses"]
    assert whole.history[-1]["errors"] == resumed.history[-1]["errors"]


@pytest.mark.parametrize("optimizer", ["gauss-newton", "lbfgs", "adam:6,gauss-newton"])
def test_a_longer_budget_continues_a_finished_run_bit_by_bit(optimizer, tmp_path):
    options = {**SMALL, "optimizer": optimizer, "rad.every": 3}
    whole = sciml.solve(inverse(), steps=N, **options)
    sciml.solve(inverse(), steps=7, out=tmp_path, **options)
    resumed = sciml.solve(inverse(), steps=N, out=tmp_path, resume=True, **options)
    assert equal(state_of(whole), state_of(resumed))


def test_steps_limit_a_run_of_several_stages():
    assert sciml.solve(inverse(), steps=4, optimizer="adam:6,gauss-newton", **SMALL).steps == 4
    assert sciml.solve(inverse(), steps=4, optimizer="adam:6,gauss-newton:9", **SMALL).steps == 4


def test_steps_given_replace_a_default_time_and_the_other_way_round():
    assert make_recipe(dict(time=100.0), dict(steps=5)).time is None
    assert make_recipe(dict(steps=100), dict(time=5.0)).steps is None
    both = make_recipe({}, dict(steps=100, time=5.0))
    assert (both.steps, both.time) == (100, 5.0)


def test_the_schedule_follows_steps_alone_when_steps_are_given():
    training = Training(inverse(), make_recipe({}, {**SMALL, "optimizer": "adam", "steps": 10, "time": 100.0}))
    training.stage_step, training.seconds = 5, 99.0
    assert training._progress() == 0.5


def test_one_seed_gives_one_result_and_another_seed_another():
    options = {**SMALL, "steps": 4, "rad.every": 2}
    one, again, other = (sciml.solve(inverse(), seed=s, **options) for s in (0, 0, 1))
    assert equal(state_of(one), state_of(again))
    assert not equal(state_of(one)["objective"], state_of(other)["objective"])
    assert not equal(state_of(one)["points"], state_of(other)["points"])


def test_a_state_is_a_copy_that_later_steps_do_not_change():
    for optimizer in ("adam", "lbfgs", "gauss-newton"):
        training = Training(inverse(), make_recipe({}, {**SMALL, "optimizer": optimizer, "steps": 6}))
        list(training.run(stop_at(3)))
        state, copy = training.state_dict(), training.state_dict()
        training.stopped = ""
        list(training.run())
        assert equal(state, copy)
        training.load_state_dict(state)
        assert equal(training.state_dict(), copy)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    sciml.solve(inverse(), steps=2, out=tmp_path, **SMALL)
    for change in ({"model.width": 9}, {"optimizer": "adam"}, {"constraints": "soft"}):
        with pytest.raises(ProblemError, match="does not fit"):
            sciml.solve(inverse(), steps=4, out=tmp_path, resume=True, **{**SMALL, **change})


def test_options_that_cannot_change_on_resume_are_refused(tmp_path, capsys):
    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 2, "--no-figures", "--out", run) == 0
    assert command("solve", "--resume", run, "--sampler", "sobol") == 2
    assert "sampler cannot change" in capsys.readouterr().err


def test_resume_keeps_the_constants_that_were_set(tmp_path, capsys):
    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 2, "--no-figures", "--out", run, "--set", "k=0.3") == 0
    assert command("solve", "--resume", run, "--steps", 4, "--no-figures") == 0
    assert json.loads((run / "config.json").read_text())["overrides"] == {"k": 0.3}
    whole = tmp_path / "whole"
    assert command("solve", tmp_path / "heat.py", "--steps", 4, "--no-figures", "--out", whole, "--set", "k=0.3") == 0
    results = [json.loads((r / "result.json").read_text()) for r in (run, whole)]
    assert results[0]["relative_l2"] == results[1]["relative_l2"]
    assert [r["step"] for r in RunFolder(run).read_metrics()] == [0, 2, 4]


def _solve_quietly(arguments):
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    os._exit(command(*arguments))


def start(*arguments):
    """A command in a process of its own, forked from a server that has imported sciml but computed nothing.

    A fork of this process would hang now and then: OpenMP's threads do not survive it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sciml.cli.main", "small"])
    process = context.Process(target=_solve_quietly, args=(arguments,))
    process.start()
    return process


def wait_for(run, step: int, process) -> None:
    """Waits until the run has kept a checkpoint of at least this step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        if RunFolder(run).has_checkpoint and RunFolder(run).load_checkpoint()["step"] >= step:
            return
        time.sleep(0.02)


def test_a_run_killed_again_and_again_can_always_be_resumed(tmp_path):
    run, path = tmp_path / "run", write(tmp_path)
    dice = random.Random(0)
    arguments = ["solve", path, "--out", run, "--steps", 100000, "--no-figures", "--optimizer", "adam"]
    reached = []
    for _ in range(5):
        process = start(*arguments)
        wait_for(run, reached[-1] + 1 if reached else 1, process)
        time.sleep(dice.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached.append(RunFolder(run).load_checkpoint()["step"])
        arguments = ["solve", "--resume", run, "--no-figures"]
    assert reached == sorted(reached)
    assert reached[-1] > reached[0]
    (run / ".checkpoint.pt.123.tmp").write_bytes(b"left by a kill")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 17, "sec')
    assert command("solve", "--resume", run, "--steps", reached[-1] + 2, "--no-figures") == 0
    assert not list(run.glob(".*.tmp"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in lines] == sorted({r["step"] for r in lines})
    assert lines[-1]["step"] == reached[-1] + 2


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    run = tmp_path / "run"
    assert command("solve", write(tmp_path), "--steps", 2, "--no-figures", "--out", run) == 0
    (run / "checkpoint.pt").unlink()
    assert command("solve", "--resume", run, "--no-figures") == 0
    assert RunFolder(run).load_checkpoint()["step"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_saves(number, tmp_path):
    run = tmp_path / "run"
    process = start("solve", write(tmp_path), "--out", run, "--steps", 100000)
    wait_for(run, 1, process)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 0
    result = json.loads((run / "result.json").read_text())
    reason = "interrupted by the user" if number == signal.SIGINT else "stopped by SIGTERM"
    assert result["status"] == f"{reason} at step {result['steps']}"
    assert RunFolder(run).load_checkpoint()["step"] == result["steps"] > 0
    assert (run / "figures" / "solution.png").is_file()
    assert command("solve", "--resume", run, "--steps", result["steps"] + 1, "--no-figures") == 0


def test_a_second_signal_ends_the_process_at_once(tmp_path):
    run = tmp_path / "run"
    process = start("solve", write(tmp_path), "--out", run, "--steps", 100000, "--points", 3000)
    wait_for(run, 1, process)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode in (-signal.SIGINT, 0)        # 0 if the step ended between the two
    assert RunFolder(run).load_checkpoint()["step"] >= 0


def test_signal_handlers_are_put_back():
    from sciml.cli.interruption import Interruption

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption() as stop:
        assert stop() == ""
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() == "stopped by SIGTERM"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    thread = threading.Thread(target=lambda: Interruption().__enter__().__exit__())
    thread.start()
    thread.join()


def test_ctrl_c_in_a_python_session_goes_back_to_the_last_good_state(tmp_path):
    def interrupt(report):
        if report.step >= 3:
            raise KeyboardInterrupt

    solution = sciml.solve(inverse(), steps=10, report=0.0, out=tmp_path, on_report=interrupt, **SMALL)
    assert solution.status.startswith("interrupted by the user")
    assert RunFolder(tmp_path).load_checkpoint()["step"] == solution.steps <= 3


class FullDisk:
    """Makes writes into a run folder fail from the n-th on, for a while or for ever."""

    def __init__(self, monkeypatch, first: int, last: float = float("inf"), name: str = "checkpoint.pt"):
        original, self.count = RunFolder._replace, 0

        def replace(folder, file, content):
            if file == name:
                self.count += 1
                if first <= self.count <= last:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return original(folder, file, content)

        monkeypatch.setattr(RunFolder, "_replace", replace)


def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    FullDisk(monkeypatch, 2, 3)
    solution = sciml.solve(inverse(), steps=6, report=0.0, out=tmp_path, **SMALL)
    assert solution.status == "ok"
    assert "No space left on device" in caplog.text
    assert RunFolder(tmp_path).load_checkpoint()["step"] == 6


def test_a_disk_that_stays_full_keeps_the_last_good_checkpoint_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    FullDisk(monkeypatch, 4)
    solution = sciml.solve(inverse(), steps=6, report=0.0, out=tmp_path, **SMALL)
    assert "No space left on device" in solution.status
    assert solution.steps == 6
    assert RunFolder(tmp_path).load_checkpoint()["step"] == 1        # before the run, at step 0, at step 1
    assert not list(tmp_path.glob(".*.tmp"))
    assert sciml.solve(inverse(), steps=6, out=tmp_path, resume=True, **SMALL).steps == 6


def test_a_line_of_metrics_that_meets_a_full_disk_is_written_later(tmp_path, monkeypatch):
    original, calls = RunFolder.append_metrics, []

    def append(folder, reports):
        calls.append(len(reports))
        if len(calls) in (2, 3):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(folder, reports)

    monkeypatch.setattr(RunFolder, "append_metrics", append)
    sciml.solve(inverse(), steps=6, report=0.0, out=tmp_path, **SMALL)
    assert [r["step"] for r in RunFolder(tmp_path).read_metrics()] == list(range(7))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_write_that_fails_leaves_the_file_of_before(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write_text("result.json", "good")
    folder.append_metrics([{"step": 0, "seconds": 0, "loss": 1.0}])
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    with pytest.raises(OSError, match="No space left"):
        folder.write_text("result.json", "half")
    assert (tmp_path / "result.json").read_text() == "good"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", "result.json"]
