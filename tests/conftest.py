"""Fixtures of all tests."""

import os

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:          # workers that each use all cores would wait for one another
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request):
    """Every device of this machine, one after the other."""
    return torch.device(request.param)


@pytest.fixture
def generator():
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(0)
