"""Operators on several processes: the same parameters as on one, also after a resume."""

import os
import subprocess
import sys

import pytest
import torch

ARGUMENTS = ["darcy", "--epochs", "2", "--dtype", "float64", "--batch", "4", "--augment", "symmetry", "--no-figures",
             "--set", "data.grid=17", "data.train=21", "data.test=4", "model.width=6", "model.modes=4"]


def solve(folder, *arguments, processes):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *launcher, "-m", "sciml", "solve", *arguments], capture_output=True,
                          text=True, cwd=folder, env=environment, timeout=300)


def parameters(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)["operator"]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_train_the_operator_of_one(tmp_path):
    done = [solve(tmp_path, "--out", str(tmp_path / f"{n}"), *ARGUMENTS, processes=n) for n in (1, 2)]
    assert all(d.returncode == 0 for d in done), done[1].stderr
    pairs = list(zip(parameters(tmp_path / "1").values(), parameters(tmp_path / "2").values(), strict=True))
    # the sum over a batch is taken in another order
    assert max(float((a - b).abs().max()) for a, b in pairs if a.is_floating_point()) < 1e-13
    assert done[1].stdout.count("mean relative L2 error") == 1                      # one process reports
    more = solve(tmp_path, "--resume", str(tmp_path / "2"), "--epochs", "3", "--no-figures", processes=2)
    assert more.returncode == 0, more.stderr
    assert torch.load(tmp_path / "2" / "checkpoint.pt", weights_only=True)["step"] == 18


def test_fields_are_still_trained_by_one_process(tmp_path):
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    done = subprocess.run([sys.executable, "-m", "sciml", "solve", "poisson", "--steps", "1"], capture_output=True,
                          text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode != 0 and "one device" in done.stderr and not (tmp_path / "runs").exists()
