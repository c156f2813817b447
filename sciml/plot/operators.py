"""Figures of a solution operator: samples of median and of largest error, and how errors are spread.

`operator_figure` shows input, prediction, reference and error of two test functions; `operator_errors_figure` the
distribution of errors, the spectra of prediction, reference and error, the growth of errors in time, and errors on
grids that the operator was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.plot.run import Arrays, RunData
from sciml.plot.style import (
    CYCLE,
    ERROR_MAP,
    FIELD_MAP,
    PREDICTION,
    REFERENCE,
    color_bar,
    color_limits,
    new_figure,
    plain,
    scientific,
    set_title,
    styled,
    symmetric_limits,
)

PANEL, ROW = 3.0, 2.6     # inches


@dataclass(frozen=True)
class OperatorData:
    """What the run folder of an operator holds beside the usual.

    Attributes:
        inputs: Input functions of the sample of median error, by name.
        worst: "inputs", "prediction" and "reference" of the sample of largest error.
        errors: Relative errors of the test samples by unknown, (B,).
        bodies: Where the nodes of both samples are, by coordinate of the body; {} where they are those of the grid.
        resolution: Mean errors on grids of other resolutions by unknown, and their "nodes" along the first axis.
    """

    inputs: Arrays
    worst: dict[str, Arrays]
    errors: Arrays = field(default_factory=dict)
    bodies: tuple[Arrays, Arrays] = ({}, {})
    resolution: Arrays = field(default_factory=dict)


def read_operator(run: RunData) -> OperatorData | None:
    """The operator's part of `solution.h5`; None if the run is of a field."""
    with h5py.File(run.folder / "solution.h5", "r") as file:
        if file.attrs.get("kind", "") != "operator":
            return None
        group = lambda name: {k: np.asarray(v) for k, v in file[name].items()} if name in file else {}
        worst = {k: group(f"worst/{k}") for k in ("inputs", "prediction", "reference")}
        return OperatorData(group("inputs"), worst, group("errors"), (group("body"), group("worst/body")),
                            group("resolution"))


@styled
def operator_figure(run: RunData) -> Figure | None:
    """Input, prediction, reference and error of the samples of median and of largest error; a row for each."""
    data = read_operator(run)
    if data is None:
        return None
    unknown = next(iter(run.prediction))
    rows = [("median", data.inputs, run.prediction, run.reference)]
    if data.errors:
        rows.append(("worst", data.worst["inputs"], data.worst["prediction"], data.worst["reference"]))
    shown = [_last(run, values[unknown]) for _, _, values, _ in rows]
    columns = 4 if data.errors else 2
    flat = shown[0].ndim == 1
    figure = new_figure(PANEL * (3 if flat else columns), ROW * len(rows) + 0.4)
    grid = figure.subplots(len(rows), 3 if flat and data.errors else columns, squeeze=False)
    for axes, (label, inputs, prediction, reference), body in zip(grid, rows, data.bodies, strict=False):
        name, values = next(iter(inputs.items()))
        _panel(axes[0], run, values, f"{label}: input {name}", FIELD_MAP)
        u = _last(run, prediction[unknown])
        r = _last(run, reference[unknown]) if unknown in reference else None
        when = _when(run)
        if flat:
            _curves(axes, run, u, r, unknown + when)
            continue
        norm = color_limits(*(a for a in (u, r) if a is not None))
        _panel(axes[1], run, u, f"prediction {unknown}{when}", FIELD_MAP, norm, body)
        if r is not None:
            error = float(np.linalg.norm(prediction[unknown] - reference[unknown]) / np.linalg.norm(reference[unknown]))
            _panel(axes[2], run, r, f"reference {unknown}{when}", FIELD_MAP, norm, body)
            _panel(axes[3], run, u - r, f"error, relative L2 {scientific(error)}", ERROR_MAP,
                   symmetric_limits(u - r), body)
    scores = run.result.get("relative_l2") or {}
    mean = f"mean test error {scientific(scores[unknown])}" if unknown in scores else ""
    set_title(figure, run.title, mean)
    return figure


def _last(run: RunData, values: np.ndarray) -> np.ndarray:
    """Values at the last time where time is beyond two coordinates; of three in space, in the middle of the last."""
    if values.ndim > 3 or (values.ndim == 3 and run.order[-1] == "t"):
        values = values[..., -1]
    return values[..., values.shape[-1] // 2] if values.ndim > 2 else values


def _when(run: RunData) -> str:
    if len(run.order) > 2 and run.order[-1] == "t":
        return f", t = {run.coordinates['t'][-1]:.4g}"
    return ""


def _panel(axes: Axes, run: RunData, values: np.ndarray, title: str, colors: str, norm=None,
           body: Arrays | None = None) -> None:
    axes.set_title(plain(title))
    values = values[..., values.shape[-1] // 2] if values.ndim > 2 else values        # a slice through the middle
    if values.ndim == 1:
        fitting = [n for n in run.order if len(run.coordinates[n]) == len(values)]
        x = run.coordinates[fitting[0]]
        axes.plot(x, values, color=CYCLE[0])
        axes.set_xlabel(plain(fitting[0]))
        return
    if values.ndim == 0:
        axes.text(0.5, 0.5, f"{float(values):.4g}", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names, places = run.order[:2], [run.coordinates[n] for n in run.order[:2]]
    if body and len(body) == 2 and all(v.shape == values.shape for v in body.values()):
        names, places = tuple(body), [v.T for v in body.values()]
    drawn = axes.pcolormesh(*places, values.T, shading="nearest" if places[0].ndim == 1 else "gouraud", cmap=colors,
                            norm=norm or color_limits(values), rasterized=True)
    axes.set(xlabel=plain(names[0]), ylabel=plain(names[1]))
    axes.locator_params(nbins=5)
    if run.order[1] != "t":
        axes.set_aspect("equal")
    color_bar(axes, drawn)


def _curves(axes, run: RunData, u: np.ndarray, r: np.ndarray | None, name: str) -> None:
    x = run.coordinates[run.order[0]]
    if r is not None:
        axes[1].plot(x, r, color=REFERENCE, label="reference")
    axes[1].plot(x, u, "--", color=PREDICTION, label="prediction")
    axes[1].set_title(plain(name))
    axes[1].set_xlabel(plain(run.order[0]))
    axes[1].legend()
    if r is not None:
        error = float(np.linalg.norm(u - r) / np.linalg.norm(r))
        axes[2].plot(x, u - r, color=PREDICTION)
        axes[2].set_title(f"error, relative L2 {scientific(error)}")
        axes[2].set_xlabel(plain(run.order[0]))


@styled
def operator_errors_figure(run: RunData) -> Figure | None:
    """Distribution of the test errors, spectra along the first axis, error against time and against resolution."""
    data = read_operator(run)
    if data is None or not data.errors:
        return None
    unknown = next(iter(run.reference))
    u, r = run.prediction[unknown], run.reference[unknown]
    timed = run.order[-1] == "t" and len(run.order) > 1
    panels = 2 + timed + bool(data.resolution)
    figure = new_figure(PANEL * panels + 1, 3.0)
    axes = figure.subplots(1, panels)
    for k, (name, errors) in enumerate(data.errors.items()):
        ordered = np.sort(errors)
        axes[0].plot(ordered, (np.arange(len(ordered)) + 1) / len(ordered), color=CYCLE[k % len(CYCLE)],
                     label=plain(name))
    axes[0].set(xlabel="relative L2 error", ylabel="share of test functions", xlim=(0, None), ylim=(0, 1.02))
    axes[0].legend()
    wave = np.arange(u.shape[0] // 2 + 1)[1:]
    curves = ((r, REFERENCE, "reference"), (u, PREDICTION, "prediction"), (u - r, CYCLE[0], "error"))
    for values, color, label in curves:
        power = np.abs(np.fft.rfft(values, axis=0))[1:]
        power = power.reshape(len(wave), -1)
        axes[1].loglog(wave, np.sqrt((power**2).mean(1)) / u.shape[0], color=color, label=label)
    axes[1].set(xlabel=plain(f"wave number in {run.order[0]}"), ylabel="amplitude")
    axes[1].legend()
    if timed:
        along = tuple(range(u.ndim - 1))
        axes[2].plot(run.coordinates["t"], np.sqrt(((u - r)**2).sum(along) / (r**2).sum(along)), color=PREDICTION)
        axes[2].set(xlabel="t", ylabel="relative L2 error", yscale="log")
    if data.resolution:
        _resolutions(axes[-1], run, data.resolution)
    set_title(figure, run.title)
    return figure


def _resolutions(axes: Axes, run: RunData, found: Arrays) -> None:
    """Errors over the nodes along the first axis; a line where the operator was trained."""
    nodes = found["nodes"]
    for k, name in enumerate(n for n in run.reference if n in found):
        axes.plot(nodes, found[name], "o-", color=CYCLE[k % len(CYCLE)], label=plain(name))
    axes.axvline(len(run.coordinates[run.order[0]]), color=REFERENCE, linestyle=":", linewidth=1.0)
    highest = max(float(found[n].max()) for n in run.reference if n in found)
    axes.set(xlabel=plain(f"nodes in {run.order[0]} (dotted: trained on)"), ylabel="mean relative L2 error",
             xticks=nodes, ylim=(0, 1.15 * highest))
    axes.legend()
