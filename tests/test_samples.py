"""Stores of samples: made, killed, resumed and streamed; and arrays of other people's files."""

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from sciml.errors import ProblemError
from sciml.generators import Burgers, Darcy
from sciml.inputs import FromFile, GaussianRandomField, RandomNumber
from sciml.samples import Array, ArraySamples, SampleStore, load_arrays, load_pdebench, make_samples

LAW = GaussianRandomField("neumann", 3.0, 3.0, 2.0, modes=6, values=(3, 12))
SQUARE = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
GRID = {c: torch.linspace(0, 1, 9, dtype=torch.float64) for c in "xy"}
SPLIT = {"train": 7, "test": 3}


def make(path, **changes):
    options = {"laws": {"a": LAW}, "solver": Darcy(), "axes": GRID, "split": SPLIT, "seed": 3, "shard": 4}
    return make_samples(path, **{**options, **changes}, sides=SQUARE)


class Killed(BaseException):
    """Stands for a signal."""


class Counting(Darcy):
    """Counts the instances solved, and is killed at one."""

    solved, limit = 0, None

    def solve(self, inputs, axes, times=None):
        found = super().solve(inputs, axes, times)
        if len(next(iter(axes.values()))) == 9 and len(inputs["a"]) != 3:
            Counting.solved += len(inputs["a"])
            if Counting.limit is not None and Counting.solved > Counting.limit:
                raise Killed
        return found


def test_a_store_holds_what_the_solver_found_and_how(tmp_path):
    store = make(tmp_path / "darcy.h5")
    assert len(store) == 10 and store.inputs == ("a",) and store.outputs == ("u",) and store.seed == 3
    assert store.splits["train"].tolist() == list(range(7)) and store.splits["test"].tolist() == [7, 8, 9]
    assert "Darcy(coefficient='a'" in store.solver and 0 < store.accuracy <= store.worst and "17×17" in store.how
    law = LAW.bind(SQUARE)
    a = law.on_grid(law.draw(10, torch.Generator().manual_seed(3)), GRID)
    rows = store.read([9, 0, 9])
    assert torch.equal(rows["a"], a[[9, 0, 9]].float())
    assert torch.allclose(rows["u"], Darcy().solve({"a": a}, GRID)["u"][[9, 0, 9]].float(), rtol=1e-6)
    assert rows["u"].dtype == torch.float32 and list(store.axes) == ["x", "y"]
    fine = {c: torch.linspace(0, 1, 17, dtype=torch.float64) for c in "xy"}
    assert torch.equal(law.on_grid(store.coefficients("a", [9]), fine)[:, ::2, ::2].float(), rows["a"][:1])
    assert not (tmp_path / "darcy.h5.parts").exists()


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    path = tmp_path / "darcy.h5"
    Counting.solved, Counting.limit = 0, 5
    with pytest.raises(Killed):
        make(path, solver=Counting(), check=3)
    assert Counting.solved == 8 and not path.exists()
    (tmp_path / "darcy.h5.parts" / "000001.partial").write_bytes(b"half a file")
    with pytest.raises(ProblemError, match="call make_samples again"):
        SampleStore(path)
    Counting.solved, Counting.limit = 0, None
    resumed = make(path, solver=Counting(), check=3)
    assert Counting.solved == 6                                        # the first part of four was there
    whole = make(tmp_path / "whole.h5", solver=Counting(), check=3)
    assert all(torch.equal(resumed.read(range(10))[k], whole.read(range(10))[k]) for k in "au")
    Counting.solved = 0
    make(path, solver=Counting(), check=3)
    assert Counting.solved == 0                                        # finished ones are only opened


def test_samples_of_another_kind_are_not_mixed(tmp_path):
    make(tmp_path / "darcy.h5")
    with pytest.raises(ProblemError, match="seed was 3, now it is 4"):
        make(tmp_path / "darcy.h5", seed=4)
    with pytest.raises(ProblemError, match="laws was"):
        make(tmp_path / "darcy.h5", laws={"a": GaussianRandomField("neumann", modes=6, positive="exp")})


def test_a_stream_covers_its_split_once_and_is_shuffled_by_its_generator(tmp_path):
    store = make(tmp_path / "darcy.h5")
    every = store.read("train", ["u"])["u"]
    parts = [b["u"] for b in store.stream("train", 3, names=["u"])]
    assert [len(p) for p in parts] == [3, 3, 1] and torch.equal(torch.cat(parts), every)
    shuffled = torch.cat([b["u"] for b in store.stream("train", 3, torch.Generator().manual_seed(0), ["u"])])
    assert not torch.equal(shuffled, every)
    assert torch.equal(shuffled.flatten(1).norm(dim=1).sort().values, every.flatten(1).norm(dim=1).sort().values)


def test_times_and_numbers_are_kept_and_a_store_is_a_law(tmp_path):
    axes = {"x": torch.arange(32, dtype=torch.float64) / 32}
    laws = {"u0": GaussianRandomField("periodic", modes=4), "nu": RandomNumber(0.05, 0.2, over=())}
    store = make_samples(tmp_path / "b.h5", laws, Burgers(nu="nu"), axes, {"train": 4}, 0, sides={"x": (0.0, 1.0)},
                         times=torch.tensor([0.1, 0.2], dtype=torch.float64), check=0)
    rows = store.read("train", dtype=torch.float64)
    assert rows["u"].shape == (4, 32, 2) and rows["nu"].shape == (4,) and store.times.tolist() == [0.1, 0.2]
    assert np.isnan(store.accuracy) and store.how == ""
    law = FromFile(str(tmp_path / "b.h5"), "u0", "periodic").bind({"x": (0.0, 1.0)})
    chosen = law.draw(4, torch.Generator().manual_seed(0))
    assert torch.equal(law.on_grid(chosen, axes), rows["u0"][chosen[:, 0].long()])


def test_wrong_questions_are_told_in_a_sentence(tmp_path):
    store = make(tmp_path / "darcy.h5", check=0)
    for ask, sentence in (
        (lambda: store.read([10]), "there are 10 samples"), (lambda: store.read("valid"), "unknown split 'valid'"),
        (lambda: store.read([0], ["w"]), "unknown field of the samples 'w'"),
        (lambda: make(tmp_path / "b.h5", laws={"b": LAW}), "reads a, but laws= has b; add a"),
        (lambda: make(tmp_path / "b.h5", split={}), "at least one instance"),
        (lambda: SampleStore(tmp_path / "none.h5"), "there are no samples"),
        (lambda: ArraySamples({"a": np.zeros((3, 2)), "u": np.zeros((4, 2))}, ["a"], {}), "one number of instances"),
        (lambda: ArraySamples({"a": np.zeros((3, 2))}, ["b"], {}), "unknown field 'b'"),
    ):
        with pytest.raises(ProblemError, match=sentence):
            ask()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["tensor"] = np.zeros(3)
    with pytest.raises(ProblemError, match="load other layouts with load_arrays"):
        SampleStore(tmp_path / "other.h5")


RNG = np.random.default_rng(0)
A = RNG.standard_normal((5, 4, 3))                                     # b x y
U = RNG.standard_normal((5, 4, 3, 2))                                  # b x y t
AXES = {"x": np.linspace(0, 1, 4), "y": np.linspace(0, 2, 3)}


def written(path, kind):
    """The same samples in a file of some kind, u as (t, x, y, b), and the order that is to be stated."""
    u = U.transpose(3, 1, 2, 0)
    if kind == "npz":
        np.savez(path, coeff=A, sol=u, x=AXES["x"])
    elif kind == "mat":
        scipy.io.savemat(path, {"coeff": A, "sol": u, "x": AXES["x"]})
    else:
        with h5py.File(path, "w") as file:                             # MATLAB's 7.3 turns axes round
            turn = (lambda a: a.T) if kind == "mat73" else (lambda a: a)
            file["coeff"], file["sol"], file["x"] = turn(A), turn(u), AXES["x"][None]
    return path


FIELDS = {"a": Array("coeff", "b x y"), "u": Array("sol", "t x y b")}


@pytest.mark.parametrize("large", [False, True], ids=["at once", "by index"])
@pytest.mark.parametrize("kind", ["npz", "mat", "mat73", "h5"])
def test_arrays_of_any_file_and_order_become_the_same_fields(tmp_path, kind, large, monkeypatch):
    monkeypatch.setattr("sciml.samples.arrays.LARGE", 0 if large else 2**28)
    path = written(tmp_path / f"data.{'mat' if kind == 'mat73' else kind}", kind)
    found = load_arrays(path, FIELDS, ["a"], {"x": Array("x", "x"), "y": AXES["y"]}, times=[0.5, 1.0],
                        splits={"train": [0, 1, 2], "test": [3, 4]})
    assert found.inputs == ("a",) and found.outputs == ("u",) and len(found) == 5
    assert torch.equal(found.axes["x"], torch.as_tensor(AXES["x"])) and found.times.tolist() == [0.5, 1.0]
    rows = found.read([4, 0, 4], dtype=torch.float64)
    assert np.array_equal(rows["a"], A[[4, 0, 4]]) and np.array_equal(rows["u"], U[[4, 0, 4]])
    assert np.array_equal(found.read("test", dtype=torch.float64)["u"], U[3:])
    coarse = load_arrays(path, FIELDS, ["a"], AXES, times=[0.5, 1.0], strides={"x": 3, "t": 2})
    assert np.array_equal(coarse.read(range(5), dtype=torch.float64)["u"], U[:, ::3, :, ::2])
    assert coarse.axes["x"].tolist() == [0, 1] and coarse.times.tolist() == [0.5]


def test_an_axis_can_be_left_out_and_an_array_shared(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["f"] = U[..., None, :], A[0]
    fields = {"f": Array("f", "x y"), "u": Array("u", "b x y 1 c", {"c": 1})}
    rows = load_arrays(tmp_path / "a.h5", fields, ["f"], AXES).read([1, 3], dtype=torch.float64)
    assert np.array_equal(rows["u"], U[[1, 3], ..., 1]) and np.array_equal(rows["f"], A[[0, 0]])


@pytest.mark.parametrize(("change", "sentence"), [
    ({"fields": {"a": Array("coeff", "b x")}}, "has 3 axes"),
    ({"fields": {"a": Array("coeff", "b y x")}}, "along 'y'"),
    ({"fields": {"a": Array("coeff", "b x z")}}, "unknown axis in order='b x z' of 'z'"),
    ({"fields": {"a": Array("coeff", "b x 1")}}, "says an axis has length 1"),
    ({"fields": {"a": Array("coef", "b x y")}}, "unknown array 'coef'; did you mean 'coeff'"),
    ({"axes": {"x": [0, 2, 1, 3], "y": AXES["y"]}}, "must increase"),
    ({"path": "data.csv"}, "ends in .csv"), ({"path": "none.h5"}, "there is no file"),
])
def test_wrong_layouts_are_told_in_a_sentence(tmp_path, change, sentence):
    written(tmp_path / "data.npz", "npz")
    (tmp_path / "data.csv").write_text("1")
    options = {"path": "data.npz", "fields": {"a": Array("coeff", "b x y")}, "inputs": ["a"], "axes": AXES, **change}
    with pytest.raises(ProblemError, match=sentence):
        load_arrays(tmp_path / options.pop("path"), **options)


def test_pdebench_files_of_one_unknown_are_read(tmp_path):
    u = RNG.standard_normal((4, 6, 8)).astype(np.float32)
    with h5py.File(tmp_path / "burgers.hdf5", "w") as file:
        file["tensor"], file["x-coordinate"], file["t-coordinate"] = u, np.arange(8) / 8, np.arange(7) / 6
    found = load_pdebench(tmp_path / "burgers.hdf5", strides={"x": 2})
    rows = found.read([3, 1])
    assert found.inputs == ("u0",) and np.array_equal(rows["u0"], u[[3, 1], 0, ::2])
    assert np.array_equal(rows["u"], u[[3, 1], 1:, ::2].transpose(0, 2, 1)) and len(found.times) == 5
    assert load_pdebench(tmp_path / "burgers.hdf5", initial=2).read([0])["u0"].shape == (1, 8, 2)
    with h5py.File(tmp_path / "darcy.hdf5", "w") as file:
        file["tensor"], file["nu"] = U.transpose(0, 3, 1, 2)[:, :1], A
        file["x-coordinate"], file["y-coordinate"] = AXES["x"], AXES["y"]
    darcy = load_pdebench(tmp_path / "darcy.hdf5").read([2], dtype=torch.float64)
    assert np.array_equal(darcy["nu"], A[[2]]) and np.array_equal(darcy["u"], U[[2], ..., 0])
    with h5py.File(tmp_path / "cfd.hdf5", "w") as file:
        file["density"] = u
    with pytest.raises(ProblemError, match="state its layout with load_arrays"):
        load_pdebench(tmp_path / "cfd.hdf5")
    with pytest.raises(ProblemError, match="initial=6"):
        load_pdebench(tmp_path / "burgers.hdf5", initial=6)
