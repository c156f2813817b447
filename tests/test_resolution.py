"""Errors of operators on grids that they were not trained on: the numbers, what is kept of them, and the figures."""

import h5py
import numpy as np
import pytest

import sciml
from sciml.plot import plot_run
from sciml.plot.operators import operator_errors_figure, operator_figure
from sciml.plot.run import read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "burgers"
    solution = sciml.solve("burgers_operator", out=folder, steps=3, batch=2, model=dict(name="fno", modes=4, width=4),
                           **{"data.grid": 32, "data.train": 4, "data.test": 3})
    return solution, folder


def test_errors_on_other_grids_are_those_against_the_solver_there(run):
    found = run[0].resolution()
    assert found["nodes"].tolist() == [16, 32, 48, 64]
    assert found["u"][3] == pytest.approx(run[0].error_on(64, 3)["u"], rel=1e-6)
    assert found["u"][1] == pytest.approx(run[0].relative_l2()["u"], rel=1e-5)           # all three test functions


def test_they_are_kept_and_drawn_beside_the_spectra(run):
    solution, folder = run
    with h5py.File(folder / "solution.h5") as file:
        assert np.array_equal(file["resolution/u"][:], solution.resolution()["u"])
    figure = operator_errors_figure(read_run(folder))
    *_, last = figure.axes
    assert len(figure.axes) == 3 and last.get_xlabel().startswith("nodes in x")
    assert np.allclose(last.lines[0].get_ydata(), solution.resolution()["u"])


def test_grids_that_the_solver_refuses_are_left_out_and_bodies_are_drawn_where_they_are(tmp_path):
    solution = sciml.solve("channel", out=tmp_path, steps=1, batch=2, model=dict(name="fno", modes=3, width=4),
                           **{"data.grid": (17, 9), "data.train": 3, "data.test": 2})
    assert solution.resolution()["nodes"].tolist() == [9, 17, 25, 33]
    odd = sciml.solve("channel", steps=1, batch=2, model=dict(name="fno", modes=3, width=4),
                      **{"data.grid": (17, 7), "data.train": 3, "data.test": 2})
    assert odd.resolution()["nodes"].tolist() == [17, 33]                   # 4 and 10 nodes across are no pairs
    with h5py.File(tmp_path / "solution.h5") as file:
        x, y, b = (file[f"{g}"][:] for g in ("worst/body/x", "worst/body/y", "worst/inputs/b"))
    assert np.allclose(y[:, 0], b, atol=1e-6) and np.allclose(y[:, -1], 1) and np.allclose(x[-1], 4)
    figure = operator_figure(read_run(tmp_path))
    assert [a.get_ylabel() for a in figure.axes if a.get_title().startswith("prediction")] == ["y", "y"]
    assert plot_run(tmp_path)
