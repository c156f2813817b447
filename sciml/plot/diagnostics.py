"""How the loss looked to the optimizer: what `--diagnose` wrote into the history."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.plot.run import RunData
from sciml.plot.style import CYCLE, DASHES, new_figure, plain, set_title, styled
from sciml.plot.training import legend_below, number, positive, time_axis

TRACE = "trace "
ANGLES = {
    "alignment": "gradients of conditions",
    "alignment_steps": "consecutive steps",
    "conflicts_proposed": "share of conflicting directions",
    "conflicts_applied": "share of conflicting updates",
}
SIZES = {"damping": "damping", "effective_dimension": "effective dimension"}


@styled
def diagnostics_figure(run: RunData) -> Figure | None:
    """Agreement of gradients, kernel traces, damping and effective dimension over seconds; None
    for a run without diagnostics."""
    names = dict.fromkeys(k for line in run.history for k in line)
    traces = [n for n in names if n.startswith(TRACE)]
    angles = [n for n in ANGLES if n in names]
    if not traces and not angles:
        return None
    seconds, label = time_axis(run.history)
    read = lambda name: np.array([number(line.get(name)) for line in run.history])
    panels = [p for p in (angles, traces, [n for n in SIZES if n in names]) if p]
    figure = new_figure(4.5 * len(panels), 4.2)
    for axes, group in zip(
        figure.subplots(1, len(panels), squeeze=False).ravel(), panels, strict=True
    ):
        for i, name in enumerate(group):
            values = read(name)
            shown = values if group is angles else positive(values)
            there = np.isfinite(shown)
            text = ANGLES.get(name) or SIZES.get(name) or name.removeprefix(TRACE)
            axes.plot(
                seconds[there],
                shown[there],
                color=CYCLE[i % len(CYCLE)],
                linestyle=DASHES[i // len(CYCLE) % len(DASHES)],
                marker=".",
                label=plain(text),
            )
        _finish(axes, group is angles, "NTK trace per row" if group is traces else "")
        axes.set_xlabel(label)
    set_title(figure, run.title)
    return figure


def _finish(axes: Axes, angles: bool, title: str) -> None:
    axes.grid(True)
    if angles:
        axes.set(ylim=(-1.05, 1.05), title="alignment")
        axes.axhline(0, color="0.6", linewidth=0.8)
    else:
        axes.set(yscale="log", title=title or "damping and effective dimension")
    legend_below(axes)
