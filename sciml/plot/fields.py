"""Prediction, reference and error side by side: the figure that says whether the run solved the
problem.

`draw_plane` puts the values of one unknown over two coordinates into a panel, for grids and
scattered points alike; the other figures use it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
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
    bounds,
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
# Smooth shading costs four triangles per cell and stops showing beyond this many cells.
SMOOTH_CELLS = 10_000
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
    axes: Axes,
    plane: Cut,
    values: np.ndarray,
    norm: Normalize,
    colors: str | Colormap = FIELD_MAP,
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
    elif plane.triangles is None or not np.isfinite(values[plane.triangles]).all(axis=1).any():
        size = float(np.clip(6000 / len(values), 1, 14))
        drawn = axes.scatter(
            plane.axes[0], plane.axes[1], c=values, s=size, norm=norm, cmap=colors, linewidths=0
        )
    else:
        finite = np.isfinite(values)
        kept = plane.triangles[finite[plane.triangles].all(axis=1)]
        mesh = Triangulation(
            plane.axes[0], plane.axes[1], kept if len(kept) else plane.triangles
        )
        drawn = axes.tripcolor(
            mesh,
            np.where(finite, values, bounds(norm)[0]),
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


def panel_size(plane: Cut, width: float = PANEL) -> tuple[float, float]:
    """Inches of a panel of the plane, colour bar and labels included.

    Args:
        width: Of a panel that stands beside others; wide domains take a whole line instead.
    """
    if not plane.isotropic or not 1 / 8 <= aspect(plane) <= 8:
        return width, 0.82 * width
    if aspect(plane) > WIDE:
        return 8.0, float(6.8 / aspect(plane) + 0.85)
    return width, float(np.clip((width - 1.2) / aspect(plane) + 0.8, 1.6, 5.5))


def _draw_grid(
    axes: Axes, plane: Cut, values: np.ndarray, norm: Normalize, colors: str | Colormap
):
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


@dataclass(frozen=True, eq=False)
class _Row:
    """What the panels of one row have in common."""

    plane: Cut
    unknown: str
    time: str
    score: float | None

    @property
    def has_reference(self) -> bool:
        return self.unknown in self.plane.reference

    @property
    def norm(self) -> Normalize:
        """One scale for prediction and reference."""
        both = (self.plane.prediction, self.plane.reference)
        return color_limits(*(a[self.unknown] for a in both if self.unknown in a))


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
    drawn = [_row(run, plane, unknown, several) for plane, unknown in rows]
    kinds = {"prediction": _prediction, "reference": _reference, "error": _error}
    width, height = panel_size(rows[0][0])
    cells = [(row, k) for row in drawn for k in kinds if k == "prediction" or row.has_reference]
    if width > PANEL:
        shape = (len(cells), 1)
        places = [(i, 0) for i in range(len(cells))]
    elif run.reference:
        shape = (len(rows), 3)
        places = [(drawn.index(row), list(kinds).index(k)) for row, k in cells]
    else:
        # Predictions alone need no row each: up to three stand side by side.
        columns = min(3, len(rows))
        shape = (-(-len(rows) // columns), columns)
        places = [divmod(i, columns) for i in range(len(rows))]
    # Labels at the left and the bottom of the grid only save 0.3 inches a panel.
    across = shape[1] * width - 0.3 * (shape[1] - 1)
    up = shape[0] * height - 0.3 * (shape[0] - 1)
    figure = new_figure(max(across, 4.2), up + 0.4)
    grid = figure.subplots(*shape, squeeze=False)
    for (row, kind), place in zip(cells, places, strict=True):
        kinds[kind](grid[place], row)
    label_outer(grid)
    return figure


def _prediction(axes: Axes, row: _Row) -> None:
    color_bar(axes, draw_plane(axes, row.plane, row.plane.prediction[row.unknown], row.norm))
    note = "" if row.has_reference or not row.plane.reference else " (no reference)"
    axes.set_title(plain(f"{row.unknown} prediction{row.time}{note}"))


def _reference(axes: Axes, row: _Row) -> None:
    color_bar(axes, draw_plane(axes, row.plane, row.plane.reference[row.unknown], row.norm))
    axes.set_title(plain(f"{row.unknown} reference{row.time}"))


def _error(axes: Axes, row: _Row) -> None:
    error = row.plane.error(row.unknown)
    assert error is not None
    norm = symmetric_limits(error)
    color_bar(axes, draw_plane(axes, row.plane, error, norm, ERROR_MAP))
    axes.set_title(plain(_error_title(row)))


def label_outer(grid: np.ndarray) -> None:
    """Keeps the labels of the first column and of the lowest panels; blanks empty panels.

    Unlike `Axes.label_outer` this knows that a panel above an empty one needs its labels.
    """
    used = np.vectorize(lambda axes: axes.has_data())(grid)
    for (i, j), axes in np.ndenumerate(grid):
        if not used[i, j]:
            axes.set_axis_off()
            continue
        if j > 0:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")
        if used[i + 1 :, j].any():
            axes.tick_params(labelbottom=False)
            axes.set_xlabel("")


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
