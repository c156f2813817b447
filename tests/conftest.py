"""Fixtures of all tests."""

import pytest
import torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request):
    """Every device of this machine, one after the other."""
    return torch.device(request.param)


@pytest.fixture
def generator():
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(0)
