"""Where the run looked: the last collocation points over the error they should have driven
down and over the residual that drew them, and how densely they lie."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from sciml.plot.cut import Cut, default_cuts
from sciml.plot.density import LEAST_POINTS, cell_centers, inside_of, octaves, relative_density
from sciml.plot.fields import draw_plane, frame, panel_size
from sciml.plot.run import Arrays, RunData
from sciml.plot.style import CYCLE, SAND, bounds, color_bar, new_figure, plain, set_title, styled

MOST_POINTS = 3000
DECADES = 4.0  # below max/10⁴ the logarithm of an error shows its zero lines only

# The dark half of a grey map would hide the points, the pale end of a heat map the residuals.
PALE_GREYS = ListedColormap(matplotlib.colormaps["Greys"](np.linspace(0.0, 0.5, 256)))
WARM = ListedColormap(matplotlib.colormaps["YlOrRd"](np.linspace(0.0, 0.8, 256)))  # under black points
HEAT = ListedColormap(matplotlib.colormaps["inferno_r"](np.linspace(0.18, 0.95, 256)))


@styled
def points_figure(run: RunData) -> Figure | None:
    """Collocation points per condition over log₁₀ of the relative error; over log₁₀ of the
    residual, and coloured by it; and, of the condition with most of them, how densely they lie.

    The residual is |r| of all equations of the inside together. Densities are relative to
    evenly spread points, in contours of factors of two. The error of several unknowns is the
    root of the sum of their squares, each divided by the root mean square of its reference.
    Points are projected on the plane of the figure from every other coordinate.

    Returns:
        The figure; None for a run that stored no points.
    """
    if not run.points:
        return None
    shown = default_cuts(run)[-1]
    figure = _over_line(run, shown) if len(shown.names) == 1 else _over_plane(run, shown)
    rest = [n for n in run.varying if n not in shown.names]
    at = shown.where(*shown.fixed) if run.reference else ""
    note = (
        f"points of every {', '.join(rest)}" + (f"; error at {at}" if at else "")
        if rest
        else ""
    )
    set_title(figure, run.title, note)
    return figure


def log_error(shown: Cut) -> np.ndarray | None:
    """log₁₀ of the relative error of all unknowns with a reference together; None without
    any."""
    squares = []
    for unknown, reference in shown.reference.items():
        error = shown.prediction[unknown] - reference
        size = float(np.sqrt(np.nanmean(reference**2))) or 1.0
        squares.append((error / size) ** 2)
    return _log(np.sqrt(sum(squares))) if squares else None


def _log(values: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(values, 1e-30))  # NaN stays NaN


def _log_limits(values: np.ndarray) -> Normalize:
    finite = values[np.isfinite(values)]
    high = float(finite.max()) if finite.size else 0.0
    low = float(finite.min()) if finite.size else -1.0
    return Normalize(min(max(low, high - DECADES), high - 0.1), high)


def _over_plane(run: RunData, plane: Cut) -> Figure:
    crowd = _crowd(run)
    count = 1 + bool(run.residual) + (crowd is not None)
    width, height = panel_size(plane, 4.4)
    stacked = width > 6
    size = (width, count * height) if stacked else (count * width, height)
    # The legend lies below the panels, one line per three conditions.
    figure = new_figure(size[0], size[1] + 0.6 + 0.2 * -(-len(run.points) // 3))
    panels = figure.subplots(*((count, 1) if stacked else (1, count)), squeeze=False).ravel()
    error = log_error(plane)
    if error is None:
        frame(panels[0], plane)
        panels[0].set_title("collocation points")
    else:
        color_bar(
            panels[0], draw_plane(panels[0], plane, error, _log_limits(error), PALE_GREYS)
        )
        panels[0].set_facecolor(SAND)
        panels[0].set_title("collocation points over log₁₀ relative error")
    handles = _dots(panels[0], run.points, plane.names)
    if run.residual:
        _residual_panel(panels[1], run, plane)
    if crowd is not None:
        _density_panel(panels[-1], run, plane, crowd)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, markerscale=2)
    return figure


def _crowd(run: RunData) -> str | None:
    """The condition with the most points; None if there are too few for a density."""
    sizes = {condition: next(iter(c.values())).size for condition, c in run.points.items()}
    most = max(sizes, key=lambda n: sizes[n])
    return most if sizes[most] >= LEAST_POINTS else None


def _residual_panel(axes: Axes, run: RunData, plane: Cut) -> None:
    """The residual of the inside as a colour map under its points, that of other conditions as
    the colour of theirs; all as colours of points where no field was stored."""
    if not run.residual_field:
        frame(axes, plane)
        norm = _log_limits(np.concatenate([_log(r) for r in run.residual.values()]))
        color_bar(axes, _residual_dots(axes, run, plane.names, norm))
        axes.set_title("log₁₀ |residual| at the points")
        return
    field = np.sqrt(sum(r**2 for r in run.residual_field.values()))
    cut = default_cuts(replace(run, prediction={"r": field}, reference={}))[-1]
    values = _log(cut.prediction["r"])
    norm = _log_limits(values)
    color_bar(axes, draw_plane(axes, cut, values, norm, WARM))
    for condition in run.residual_field:
        if condition in run.points:
            columns, _ = _thin(run.points[condition])
            x, y = (columns[n] for n in plane.names)
            axes.scatter(x, y, s=2.5, color="black", linewidths=0)
    rest = {c: r for c, r in run.residual.items() if c not in run.residual_field}
    if rest:
        _residual_dots(axes, replace(run, residual=rest), plane.names, norm, WARM, 0.4)
    axes.set_title("log₁₀ |residual| under the points")


def _density_panel(axes: Axes, run: RunData, plane: Cut, condition: str) -> None:
    """Density of a condition's points as a colour map in factors of two."""
    columns = run.points[condition]
    x, y = (columns[n] for n in plane.names)
    inside = inside_of(run, plane.names, plane.extent)
    density = relative_density(x, y, plane.extent, inside)
    powers = octaves(density)
    reach = max(1.0, float(np.nanmax(np.abs(powers))))
    across, up = cell_centers(plane.extent)
    frame(axes, plane)
    axes.set_facecolor(SAND)
    drawn = axes.pcolormesh(
        across, up, powers, norm=Normalize(-reach, reach), cmap="RdBu_r", rasterized=True
    )
    levels = np.arange(-np.floor(reach), np.floor(reach) + 1)
    axes.contour(across, up, powers, levels=levels, colors="0.25", linewidths=0.6)
    color_bar(axes, drawn)
    axes.set_title(plain(f"log₂ density of {condition} (0: even)"))


def _thin(
    columns: Arrays, residual: np.ndarray | None = None
) -> tuple[Arrays, np.ndarray | None]:
    """At most `MOST_POINTS` of the points, the same ones each time."""
    count = next(iter(columns.values())).size
    keep = np.sort(np.random.default_rng(0).permutation(count)[:MOST_POINTS])
    thinned = {n: c[keep] for n, c in columns.items()}
    return thinned, None if residual is None else residual[keep]


def _dots(axes: Axes, points: dict[str, Arrays], names: tuple[str, ...]) -> list:
    """A colour per condition; conditions of few points, such as walls, lie above those of
    many."""
    handles = []
    for i, (condition, columns) in enumerate(points.items()):
        count = columns[names[0]].size
        thinned, _ = _thin(columns)
        handles.append(
            axes.scatter(
                thinned[names[0]],
                thinned[names[1]],
                s=float(np.clip(4000 / count, 3.5, 12)),
                color=CYCLE[i % len(CYCLE)],
                linewidths=0,
                zorder=2 + 1 / count,
                clip_on=False,
                label=plain(f"{condition} ({count})"),
            )
        )
    return handles


def _residual_dots(
    axes: Axes,
    run: RunData,
    names: tuple[str, ...],
    norm: Normalize,
    colors: ListedColormap = HEAT,
    rim: float = 0.0,
):
    """Points in the colour of their residual; what was drawn last."""
    drawn = None
    for condition, residual in run.residual.items():
        columns, kept = _thin(run.points[condition], residual)
        assert kept is not None
        drawn = axes.scatter(
            columns[names[0]],
            columns[names[1]],
            c=_log(kept),
            norm=norm,
            cmap=colors,
            s=float(np.clip(4000 / residual.size, 4, 14)),
            linewidths=rim,
            edgecolors="0.2",
            clip_on=False,
            zorder=2 + 1 / residual.size,
        )
    return drawn


def _over_line(run: RunData, line: Cut) -> Figure:
    """The error as a curve, and below it a row of points per condition."""
    name = line.names[0]
    error = log_error(line)
    figure = new_figure(7.0, (2.6 if error is not None else 0.6) + 0.35 * len(run.points) + 1.1)
    if error is None:
        below = figure.subplots()
    else:
        above, below = figure.subplots(
            2, 1, sharex=True, height_ratios=(2.4, 0.3 * len(run.points) + 0.5)
        )
        above.plot(line.axes[0], 10.0**error, color="0.3")
        limits = _log_limits(error)
        low, high = (
            10.0 ** (v + pad) for v, pad in zip(bounds(limits), (-0.2, 0.2), strict=True)
        )
        above.set(yscale="log", ylabel="|relative error|", ylim=(low, high))
        above.grid(True)
    norm = (
        _log_limits(np.concatenate([_log(r) for r in run.residual.values()]))
        if run.residual
        else None
    )
    for i, (condition, columns) in enumerate(run.points.items()):
        thinned, residual = _thin(columns, run.residual.get(condition))
        style = (
            dict(color=CYCLE[i % len(CYCLE)])
            if residual is None
            else dict(c=_log(residual), norm=norm, cmap=HEAT)
        )
        drawn = below.scatter(
            thinned[name],
            np.full(thinned[name].size, float(i)),
            s=40,
            marker="|",
            linewidths=1.0,
            clip_on=False,
            **style,
        )
        if residual is not None:
            last = drawn
    if norm is not None:
        figure.colorbar(last, ax=below, label="log₁₀ |residual|", fraction=0.04, pad=0.02)
    below.set(
        yticks=range(len(run.points)),
        ylim=(len(run.points) - 0.5, -0.5),
        xlabel=plain(name),
        xlim=line.extent[0] if np.ptp(line.axes[0]) > 0 else None,
    )
    below.set_yticklabels([plain(f"{c} ({p[name].size})") for c, p in run.points.items()])
    below.grid(True, axis="x")
    return figure
