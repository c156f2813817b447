"""Curves through a plane: u(x) at chosen times, or along the centrelines of a steady field.

A colour map hides an error of a few per cent; a curve shows it.
"""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sciml.plot.cut import Cut, chosen_values, default_cuts
from sciml.plot.run import TIME, RunData
from sciml.plot.style import (
    FIELD_MAP,
    PREDICTION,
    REFERENCE,
    new_figure,
    plain,
    set_title,
    styled,
)

INSTANTS = 5


@styled
def lines_figure(run: RunData) -> Figure | None:
    """Profiles of every unknown, prediction dashed over reference solid; None for a single
    coordinate.

    Time (or a parameter) across and a length up: u along the length at up to five values, a
    panel per unknown. Two lengths: u along either centreline, a row per unknown, a colour per
    chosen time.
    """
    planes = default_cuts(run)
    first = planes[0]
    if len(first.names) != 2 or first.width:
        return None
    figure = _centrelines(run, planes) if first.isotropic else _instants(run, first)
    held = first.where(*(n for n in first.fixed if n != TIME or len(planes) == 1))
    set_title(figure, run.title, f"slice at {held}" if held else "")
    return figure


def _instants(run: RunData, plane: Cut) -> Figure:
    sweep = plane.names[0]
    profiles = [plane.profile(1, value) for value in chosen_values(run, sweep, INSTANTS)]
    unknowns = list(run.prediction)
    columns = min(3, len(unknowns))
    rows = -(-len(unknowns) // columns)
    figure = new_figure(max(4.2 * columns, 5.6), 3.0 * rows + 0.9)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    colors = _shades(len(profiles))
    for axes, unknown in zip(panels, unknowns, strict=False):
        for (line, _), color in zip(profiles, colors, strict=True):
            _pair(axes, line, unknown, color)
    for axes in panels[len(unknowns) :]:
        axes.set_axis_off()
    _legend(figure, run, [f"{sweep} = {value:.3g}" for _, value in profiles], colors)
    return figure


def _centrelines(run: RunData, planes: list[Cut]) -> Figure:
    unknowns = list(run.prediction)
    figure = new_figure(8.8, 2.6 * len(unknowns) + 0.9)
    panels = figure.subplots(len(unknowns), 2, squeeze=False)
    colors = _shades(len(planes)) if len(planes) > 1 else [None]
    for row, unknown in zip(panels, unknowns, strict=True):
        for along, axes in enumerate(row):
            across = planes[0].names[1 - along]
            for plane, color in zip(planes, colors, strict=True):
                line, taken = plane.profile(along, round_middle(*plane.extent[1 - along]))
                _pair(axes, line, unknown, color)
            axes.set_title(
                plain(f"{unknown} along {planes[0].names[along]} at {across} = {taken:.3g}")
            )
    _legend(figure, run, [p.where(TIME) for p in planes] if len(planes) > 1 else [], colors)
    return figure


def round_middle(low: float, high: float) -> float:
    """The middle of an interval to a hundredth of its length, to read well in a title."""
    if high <= low:
        return low
    digits = 2 - math.floor(math.log10(high - low))
    return round(0.5 * (low + high), digits) + 0.0


def _pair(axes: Axes, line: Cut, unknown: str, color) -> None:
    """Prediction over reference; in one colour with the reference pale, or in the colours of
    the two."""
    if unknown in line.reference:
        axes.plot(
            line.axes[0],
            line.reference[unknown],
            color=color or REFERENCE,
            linewidth=3.2 if color else 2.2,
            alpha=0.4 if color else 0.75,
            solid_capstyle="butt",
        )
    axes.plot(
        line.axes[0], line.prediction[unknown], "--", color=color or PREDICTION, linewidth=1.3
    )
    axes.set(xlabel=plain(line.names[0]), ylabel=plain(unknown), xlim=line.extent[0])
    axes.grid(True)


def _shades(count: int) -> list:
    colors: Colormap = matplotlib.colormaps[FIELD_MAP]
    # The bright end of the map is too pale for a line on white.
    return [colors(s) for s in np.linspace(0.0, 0.85, count)]


def _legend(figure: Figure, run: RunData, labels: list[str], colors: list) -> None:
    shaded = bool(labels)
    handles = [
        Line2D([], [], color=c, linewidth=2.2, label=plain(name))
        for c, name in zip(colors, labels, strict=False)
    ]
    if run.reference:
        handles.append(
            Line2D(
                [],
                [],
                color="0.35" if shaded else REFERENCE,
                linewidth=3.2 if shaded else 2.2,
                alpha=0.4 if shaded else 0.75,
                label="reference",
            )
        )
    handles.append(
        Line2D(
            [],
            [],
            color="0.35" if shaded else PREDICTION,
            linestyle="--",
            linewidth=1.3,
            label="prediction",
        )
    )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), int(figure.get_figwidth() / 1.4)),
    )
