"""Prediction, reference and error side by side: the figure that says whether the run solved the
problem.

`draw_plane` puts the values of one unknown over two coordinates into a panel, for grids and
scattered points alike; the other figures use it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from sciml.plot.cut import Cut, default_cuts
from sciml.plot.run import TIME, RunData, relative_l2
from sciml.plot.style import (
    ERROR_MAP,
    FIELD_MAP,
    OUTSIDE,
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

PANEL = 3.3  # inches
WIDE = 2.6  # panels of a domain wider than this are stacked, narrower ones stand side by side
SMOOTH_CELLS = (
    20_000  # smooth shading costs four triangles per cell and stops showing beyond this
)
MOST_ALONG = 500


@styled
def solution_figure(run: RunData, unknown: str | None = None) -> Figure:
    """Prediction, reference and error over the coordinates of the run.

    One coordinate: curves and their difference. Two: colour maps, a row per unknown. With time
    besides a plane: a row per chosen time of one unknown. Further coordinates are held at their
    middle, which the title states.

    Args:
        run: What to draw.
        unknown: The one to draw; all by default, or the first where rows are times.
    """
    cuts = default_cuts(run)
    if len(cuts) > 1:
        rows = [(c, unknown or next(iter(run.prediction))) for c in cuts]
    else:
        rows = [(cuts[0], u) for u in ([unknown] if unknown else run.prediction)]
    figure = _curves(run, rows) if len(cuts[0].names) == 1 else _planes(run, rows)
    held = cuts[0].where(*(n for n in cuts[0].fixed if n != TIME or len(cuts) == 1))
    set_title(figure, run.title, f"slice at {held}" if held else "")
    return figure


def draw_plane(
    axes: Axes, plane: Cut, values: np.ndarray, norm: Normalize, colors: str = FIELD_MAP
):
    """Colours one panel by values over a plane and labels it.

    Smooth on coarse grids and triangles, cells on fine grids and around NaN, dots for points in
    a thick band.

    Returns:
        What a colour bar is made for.
    """
    axes.set_facecolor(OUTSIDE)
    if not plane.scattered:
        drawn = _draw_grid(axes, plane, values, norm, colors)
    elif plane.triangles is None:
        size = float(np.clip(6000 / len(values), 1, 14))
        drawn = axes.scatter(
            *plane.axes, c=values, s=size, norm=norm, cmap=colors, linewidths=0
        )
    else:
        finite = np.isfinite(values)
        kept = plane.triangles[finite[plane.triangles].all(axis=1)]
        mesh = Triangulation(*plane.axes, kept if len(kept) else plane.triangles)
        drawn = axes.tripcolor(
            mesh,
            np.where(finite, values, norm.vmin),
            shading="gouraud",
            norm=norm,
            cmap=colors,
            rasterized=True,
        )
    frame(axes, plane)
    return drawn


def frame(axes: Axes, plane: Cut) -> None:
    """Limits, labels and aspect of a panel over a plane."""
    (left, right), (low, high) = plane.extent
    axes.set(
        xlim=(left, right),
        ylim=(low, high),
        xlabel=plain(plane.names[0]),
        ylabel=plain(plane.names[1]),
    )
    if plane.isotropic and 1 / 8 <= aspect(plane) <= 8:
        axes.set_aspect("equal")
    axes.locator_params(nbins=5)


def aspect(plane: Cut) -> float:
    """Width of the domain over its height."""
    (left, right), (low, high) = plane.extent
    return (right - left) / (high - low) if high > low else 1.0


def panel_size(plane: Cut) -> tuple[float, float]:
    """Inches of a panel of the plane, colour bar and labels included."""
    if not plane.isotropic or not 1 / 8 <= aspect(plane) <= 8:
        return PANEL, 2.7
    if aspect(plane) > WIDE:
        return 8.0, float(6.4 / aspect(plane) + 0.95)
    return PANEL, float(np.clip(2.35 / aspect(plane) + 0.75, 2.0, 5.0))


def _draw_grid(axes: Axes, plane: Cut, values: np.ndarray, norm: Normalize, colors: str):
    across, up = (
        np.unique(np.linspace(0, a.size - 1, min(a.size, MOST_ALONG)).astype(int))
        for a in plane.axes
    )
    values = values[np.ix_(up, across)]
    smooth = values.size <= SMOOTH_CELLS and bool(np.isfinite(values).all())
    return axes.pcolormesh(
        plane.axes[0][across],
        plane.axes[1][up],
        np.ma.masked_invalid(values),
        norm=norm,
        cmap=colors,
        shading="gouraud" if smooth else "nearest",
        rasterized=True,
    )


@dataclass(frozen=True)
class _Row:
    """What the panels of one row have in common."""

    plane: Cut
    unknown: str
    time: str
    score: float | None


def _row(run: RunData, plane: Cut, unknown: str, several: bool) -> _Row:
    """The error over everything that was stored where the row shows all of it, else over what
    it shows."""
    error = plane.error(unknown)
    if error is None:
        score = None
    elif set(plane.names) == set(run.varying):
        score = run.relative_l2(unknown)
    else:
        score = relative_l2(plane.prediction[unknown], plane.reference[unknown])
    return _Row(plane, unknown, f", {plane.where(TIME)}" if several else "", score)


def _planes(run: RunData, rows: list[tuple[Cut, str]]) -> Figure:
    several = len({id(plane) for plane, _ in rows}) > 1
    width, height = panel_size(rows[0][0])
    if not run.reference:
        # Predictions alone need no row each: up to three stand side by side.
        count = len(rows)
        columns = 1 if width > PANEL else min(3, count)
        lines = -(-count // columns)
        figure = new_figure(max(columns * width, 4.2), lines * height + 0.4)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (plane, unknown) in zip(panels, rows, strict=False):
            _prediction_panel(axes, _row(run, plane, unknown, several))
        for axes in panels[count:]:
            axes.set_axis_off()
        return figure
    if width > PANEL:
        figure = new_figure(width, 3 * len(rows) * height + 0.4)
        panels = figure.subplots(3 * len(rows), 1, squeeze=False).reshape(len(rows), 3)
    else:
        figure = new_figure(3 * width, len(rows) * height + 0.4)
        panels = figure.subplots(len(rows), 3, squeeze=False)
    for axes, (plane, unknown) in zip(panels, rows, strict=True):
        _three_panels(axes, _row(run, plane, unknown, several))
    return figure


def _prediction_panel(axes: Axes, row: _Row) -> None:
    values = row.plane.prediction[row.unknown]
    color_bar(axes, draw_plane(axes, row.plane, values, color_limits(values)))
    axes.set_title(plain(f"{row.unknown} prediction{row.time}"))


def _three_panels(panels: np.ndarray, row: _Row) -> None:
    plane, unknown = row.plane, row.unknown
    error = plane.error(unknown)
    if error is None:
        _prediction_panel(panels[0], row)
        for axes in panels[1:]:
            axes.set_axis_off()
        panels[1].text(
            0.5,
            0.5,
            plain(f"{unknown} has no reference"),
            ha="center",
            va="center",
            color="0.4",
            transform=panels[1].transAxes,
        )
        return
    prediction, reference = plane.prediction[unknown], plane.reference[unknown]
    norm = color_limits(prediction, reference)
    for axes, values, name in (
        (panels[0], prediction, "prediction"),
        (panels[1], reference, "reference"),
    ):
        color_bar(axes, draw_plane(axes, plane, values, norm))
        axes.set_title(plain(f"{unknown} {name}{row.time}"))
    color_bar(
        panels[2], draw_plane(panels[2], plane, error, symmetric_limits(error), ERROR_MAP)
    )
    panels[2].set_title(plain(_error_title(row)))


def _error_title(row: _Row) -> str:
    return f"{row.unknown} error" + (
        f", relative L2 {scientific(row.score)}" if row.score is not None else ""
    )


def _curves(run: RunData, rows: list[tuple[Cut, str]]) -> Figure:
    columns = 2 if run.reference else 1
    figure = new_figure(4.4 * columns, 2.7 * len(rows) + 0.4)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (line, unknown) in zip(panels, rows, strict=True):
        row = _row(run, line, unknown, several=False)
        draw_curves(axes[0], line, unknown)
        axes[0].legend(loc="best")
        axes[0].set_title(plain(unknown))
        error = line.error(unknown)
        if error is None:
            for empty in axes[1:]:
                empty.set_axis_off()
            continue
        axes[1].axhline(0.0, color="0.6", linewidth=0.7)
        axes[1].plot(line.axes[0], error, color=PREDICTION)
        axes[1].set(
            xlabel=plain(line.names[0]), xlim=_limits(line), title=plain(_error_title(row))
        )
        axes[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes[1].grid(True)
        # The factor 10ⁿ stands above the axis, where a centred title over a narrow panel would
        # meet it.
        axes[1].yaxis.get_offset_text().set_size(8)
    return figure


def draw_curves(axes: Axes, line: Cut, unknown: str) -> None:
    """Prediction, dashed, over reference, solid, along one coordinate."""
    if unknown in line.reference:
        axes.plot(
            line.axes[0],
            line.reference[unknown],
            color=REFERENCE,
            linewidth=2.2,
            alpha=0.75,
            label="reference",
        )
    axes.plot(
        line.axes[0], line.prediction[unknown], "--", color=PREDICTION, label="prediction"
    )
    axes.set(xlabel=plain(line.names[0]), ylabel=plain(unknown), xlim=_limits(line))
    axes.grid(True)


def _limits(line: Cut) -> tuple[float, float] | None:
    low, high = line.extent[0]
    return (low, high) if high > low else None
