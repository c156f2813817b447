"""How the run got there: losses, errors, weights, points and unknown parameters over seconds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.plot.run import RunData
from sciml.plot.style import CYCLE, DASHES, new_figure, plain, set_title, styled

MOST_NAMED_STAGES = 5
MOST_PARAMETER_PANELS = 3
BLOCK, POINT = "weight ", "point weight "  # begin the names of weights in the reports
KEPT, NUMBER = "kept ", "points "  # begin those of the share of points kept and their number
MANY_KEPT = 0.9  # above, points hardly move any more


@styled
def training_figure(run: RunData) -> Figure | None:
    """Loss per condition, relative L2 error per unknown, weights that vary, the share of points
    that the sampler keeps and their number where it varies, unknown parameters; None for a run
    without history.

    The dashed line of an unknown's colour is the error of its best constant: an error above it
    has learnt nothing. Weights of points are a mean within its range. Thin vertical lines mark
    where one stage of the recipe ends and the next begins.
    """
    if not run.history:
        return None
    seconds, axis = time_axis(run.history)
    errors = series(run.history, "errors")
    parameters = series(run.history, "parameters")
    apart = len(parameters) <= MOST_PARAMETER_PANELS
    groups = [{n: v} for n, v in parameters.items()] if apart else [parameters]
    weights = varying_weights(run.history)
    kept, numbers = prefixed(run.history, KEPT), varying(prefixed(run.history, NUMBER))
    count = 1 + bool(errors) + bool(weights) + bool(kept) + bool(numbers) + len(groups)
    figure = new_figure(4.5 * count if count > 1 else 6.0, 4.2)
    panels = iter(figure.subplots(1, count, squeeze=False).ravel())
    _losses(next(panels), run, seconds)
    if errors:
        _errors(next(panels), run, seconds, errors)
    if weights:
        _weights(next(panels), run, seconds, weights)
    if kept:
        axes = next(panels)
        _per_condition(axes, run, seconds, kept)
        axes.axhline(MANY_KEPT, color="0.45", linestyle="--", linewidth=1.0)
        axes.set(ylim=(0, 1), title="share of points kept")
    if numbers:
        axes = next(panels)
        _per_condition(axes, run, seconds, numbers)
        axes.set(title="number of points")
        axes.set_ylim(bottom=0)
    for group in groups:
        _parameters(next(panels), seconds, group)
    for i, axes in enumerate(figure.axes):
        axes.set_xlabel(axis)
        axes.grid(True)
        _stages(axes, run.history, seconds, named=i == 0)
    set_title(figure, run.title)
    return figure


def time_axis(history: tuple[dict, ...]) -> tuple[np.ndarray, str]:
    """Seconds (N,) of the lines and the label of that axis; steps where seconds were not
    written."""
    for key, label in (("seconds", "seconds"), ("step", "steps")):
        values = [number(line.get(key)) for line in history]
        if np.isfinite(values).all():
            return np.array(values), label
    return np.arange(len(history), dtype=float), "reports"


def series(history: tuple[dict, ...], key: str) -> dict[str, np.ndarray]:
    """Name to values (N,) of a dict that the lines carry; NaN in lines without that name."""
    tables: list[dict] = [t if isinstance(t := line.get(key), dict) else {} for line in history]
    names = dict.fromkeys(name for table in tables for name in table)
    return {n: np.array([number(table.get(n)) for table in tables]) for n in names}


def varying_weights(history: tuple[dict, ...]) -> dict[str, np.ndarray]:
    """Condition to weight (N,), or smallest, mean and largest weight of its points (N, 3), NaN
    before the first; empty if none changes."""
    names = dict.fromkeys(k for line in history for k in line)
    read = lambda key: np.array([number(line.get(key)) for line in history])
    found = {n.removeprefix(BLOCK): read(n) for n in names if n.startswith(BLOCK)}
    for n in names:
        if n.startswith(f"mean {POINT}"):
            condition = n.removeprefix(f"mean {POINT}")
            triple = [read(f"{what} {POINT}{condition}") for what in ("min", "mean", "max")]
            found[f"points of {condition}"] = np.stack(triple, axis=1)
    return varying(found)


def prefixed(history: tuple[dict, ...], prefix: str) -> dict[str, np.ndarray]:
    """Condition to values (N,) of the entries ``prefix + condition`` of the lines; NaN in lines without."""
    names = dict.fromkeys(k for line in history for k in line if k.startswith(prefix))
    return {n.removeprefix(prefix): np.array([number(line.get(n)) for line in history]) for n in names}


def varying(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All of them if any takes more than one finite value, else none."""
    moved = [len(np.unique(v[np.isfinite(v)])) > 1 for v in values.values()]
    return values if any(moved) else {}


def number(value) -> float:
    """A number of a line of the history; NaN for anything else."""
    return float(value) if isinstance(value, int | float) else float("nan")


def positive(values: np.ndarray) -> np.ndarray:
    """What a log scale can show; the rest becomes a gap."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _losses(axes: Axes, run: RunData, seconds: np.ndarray) -> None:
    total = np.array([number(line.get("loss")) for line in run.history])
    losses = series(run.history, "losses")
    title = "loss per condition"
    if (total <= 0).any() or any((values <= 0).any() for values in losses.values()):
        total, losses = above_lowest(total), {name: above_lowest(values) for name, values in losses.items()}
        title += ", above the lowest"                          # an energy has no zero of its own
    if len(losses) != 1:
        axes.plot(
            seconds, positive(total), color="0.6", linewidth=2.6, label="total", zorder=1.5
        )
    for i, (name, values) in enumerate(losses.items()):
        axes.plot(
            seconds,
            positive(values),
            color=CYCLE[i % len(CYCLE)],
            linewidth=1.2,
            linestyle=DASHES[i // len(CYCLE) % len(DASHES)],
            label=plain(name),
        )
    axes.set(yscale="log", title=title)
    legend_below(axes)


def above_lowest(values: np.ndarray) -> np.ndarray:
    """Values of an energy minus their smallest; others as they are."""
    return values - np.nanmin(values) if (values <= 0).any() else values


def _errors(
    axes: Axes, run: RunData, seconds: np.ndarray, errors: dict[str, np.ndarray]
) -> None:
    null = run.result.get("null_score")
    for i, (name, values) in enumerate(errors.items()):
        color = CYCLE[i % len(CYCLE)]
        axes.plot(seconds, positive(values), color=color, label=plain(name))
        best = number(null.get(name)) if isinstance(null, dict) else np.nan
        if best > 0:
            axes.axhline(
                best,
                color=color,
                linestyle="--",
                linewidth=1.0,
                label=plain(f"{name}, best constant"),
            )
    axes.set(yscale="log", title="relative L2 error")
    legend_below(axes)


def _weights(
    axes: Axes, run: RunData, seconds: np.ndarray, weights: dict[str, np.ndarray]
) -> None:
    """Conditions in the colours of their losses; dotted with a band: mean and range over points."""
    order = list(series(run.history, "losses"))
    for name, values in weights.items():
        condition = name.removeprefix("points of ") if values.ndim == 2 else name
        i = order.index(condition) if condition in order else len(order)
        color, dash = CYCLE[i % len(CYCLE)], DASHES[i // len(CYCLE) % len(DASHES)]
        if values.ndim == 2:
            low, values, high = (positive(v) for v in values.T)
            dash = ":"
            axes.fill_between(seconds, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(seconds, positive(values), color=color, linestyle=dash, label=plain(name))
    axes.set(yscale="log", title="weights")
    legend_below(axes)


def _per_condition(
    axes: Axes, run: RunData, seconds: np.ndarray, values: dict[str, np.ndarray]
) -> None:
    """A curve per condition, in the colour of its loss; gaps, where nothing was written, are bridged."""
    order = list(series(run.history, "losses"))
    for name, column in values.items():
        i = order.index(name) if name in order else len(order)
        there = np.isfinite(column)
        axes.plot(
            seconds[there],
            column[there],
            color=CYCLE[i % len(CYCLE)],
            linestyle=DASHES[i // len(CYCLE) % len(DASHES)],
            label=plain(name),
        )
    legend_below(axes)


def _parameters(axes: Axes, seconds: np.ndarray, group: dict[str, np.ndarray]) -> None:
    for i, (name, values) in enumerate(group.items()):
        axes.plot(seconds, values, color=CYCLE[i % len(CYCLE)], label=plain(name))
    last = {n: v[np.isfinite(v)][-1] for n, v in group.items() if np.isfinite(v).any()}
    axes.set_title(
        plain(", ".join(f"{n} = {v:.4g}" for n, v in last.items()))
        if len(group) == 1
        else "unknown parameters"
    )
    if len(group) == 1:
        axes.set_ylabel(plain(next(iter(group))))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    if len(group) > 1:
        legend_below(axes)


def legend_below(axes: Axes) -> None:
    """Below the panel no curve can run through the legend."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(len(name) for name in labels)
        columns = 3 if longest <= 10 else 2 if longest <= 22 else 1
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.17),
            ncols=columns,
            columnspacing=1.2,
            handlelength=1.8,
        )


def _stages(axes: Axes, history: tuple[dict, ...], seconds: np.ndarray, named: bool) -> None:
    stages = [str(line.get("stage", "")) for line in history]
    starts = [i for i in range(len(stages)) if i == 0 or stages[i] != stages[i - 1]]
    span = float(np.ptp(seconds)) or 1.0
    gaps = np.diff([seconds[i] for i in starts]) if len(starts) > 1 else np.array([])
    readable = len(starts) <= MOST_NAMED_STAGES and bool((gaps > 0.06 * span).all())
    for i in starts[1:]:
        axes.axvline(seconds[i], color="0.45", linewidth=0.7, zorder=0.9)
    if named and readable and len(starts) > 1:
        for i in starts:
            axes.annotate(
                plain(stages[i]),
                (seconds[i], 0.03),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                xytext=(3, 0),
                textcoords="offset points",
                rotation=90,
                va="bottom",
                color="0.35",
            )
