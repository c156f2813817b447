"""The trail of points: what a run keeps of where its points were, and that a resume goes on with it."""

import numpy as np
import pytest
import torch
from small import SMALL, inverse

import sciml
from sciml.plot.trail import read_trail
from sciml.points import Points
from sciml.solution import RunFolder, Trail
from sciml.solution.trail import MOST_POINTS, MOST_SNAPSHOTS


def points(value, n=3):
    return {"equation": Points(torch.full((n, 2), float(value), dtype=torch.float64), ("x", "t"))}


def test_points_that_stay_are_kept_once():
    trail, same = Trail(), points(1)
    for step in range(5):
        trail.add(step, 0.1 * step, same)
    assert len(trail.snapshots) == 1 and not trail.moves


def test_a_long_trail_stays_short_and_even_and_begins_at_the_beginning():
    trail = Trail()
    for step in range(0, 10_000, 10):
        trail.add(step, 0.1 * step, points(step))
    steps = [s.step for s in trail.snapshots]
    assert MOST_SNAPSHOTS // 2 <= len(steps) <= MOST_SNAPSHOTS
    assert steps[0] == 0 and steps[-1] > 9_000
    assert len(set(np.diff(steps))) == 1
    assert [float(s.columns["equation"]["x"][0]) for s in trail.snapshots] == steps


def test_of_many_points_an_even_part_is_kept():
    trail = Trail()
    column = torch.arange(5 * MOST_POINTS, dtype=torch.float64)
    trail.add(0, 0.0, {"equation": Points(column[:, None], ("x",))})
    (kept,) = trail.snapshots[0].columns["equation"].values()
    assert len(kept) == MOST_POINTS and set(np.diff(kept)) == {5.0} and kept.dtype == np.float32


def test_a_trail_comes_back_from_its_file_up_to_a_step():
    trail = Trail()
    for step in (0, 10, 20):
        trail.add(step, 0.5 * step, points(step))
    back = Trail.from_bytes(trail.as_bytes(), 10)
    assert [(s.step, s.seconds) for s in back.snapshots] == [(0, 0.0), (10, 5.0)]
    assert np.array_equal(back.snapshots[1].columns["equation"]["t"], np.full(3, 10.0))


@pytest.mark.parametrize("sampler, moves", [("uniform", True), ("fixed", False)])
def test_a_run_whose_points_move_keeps_their_trail_and_a_resume_goes_on_with_it(sampler, moves, tmp_path):
    options = {**SMALL, "optimizer": "adam", "sampler": sampler, "report": 0.0}
    options |= {"uniform.every": 1} if moves else {}
    sciml.solve(inverse(), out=tmp_path, steps=4, **options)
    assert (tmp_path / "points.h5").is_file() == moves
    solution = sciml.solve(inverse(), out=tmp_path, steps=7, resume=True, **options)
    found = read_trail(tmp_path, ("x", "t"))
    assert [m.step for m in found] == ([0, *range(2, 8)] if moves else [])       # step 1 takes the points of step 0
    for name in found[-1].points if moves else ():
        last = solution.objective.points[name]
        assert np.allclose(found[-1].points[name]["x"], last.column("x").numpy(), rtol=1e-6)
    if moves:
        sciml.solve(inverse(), out=tmp_path, steps=1, **{**options, "uniform.every": 0})
        assert not (tmp_path / "points.h5").is_file()          # the trail of an earlier run is gone


def test_a_trail_that_cannot_be_read_does_not_keep_a_run_from_resuming(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / "points.h5").write_bytes(b"half a file")
    assert run.read_trail(5).snapshots == []
