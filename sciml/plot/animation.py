"""The solution moving in time, as a GIF that fits into a README."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sciml.errors import ProblemError
from sciml.plot.cut import Cut, chosen_values, cut, middle
from sciml.plot.fields import draw_curves, draw_plane, panel_size
from sciml.plot.run import TIME, RunData, read_run
from sciml.plot.style import (
    bounds,
    color_bar,
    color_limits,
    new_figure,
    plain,
    set_title,
    styled,
)

log = logging.getLogger(__name__)
MOST_FRAMES = 60
MOST_BYTES = 3_000_000
MOST_UNKNOWNS = 3
# (frames, dots per inch): the next is tried while the file is too large.
QUALITIES = ((60, 90), (40, 75), (25, 60), (12, 50))


def animate(run: str | Path, path: str | Path | None = None) -> Path:
    """GIF of prediction and reference over time: curves in one space coordinate, colour maps in
    more.

    At most 60 frames and 3 MB. The limits of axes and colours hold for all frames; of more than
    three unknowns the first three are shown.

    Args:
        run: The run folder.
        path: Where to write; ``figures/animation.gif`` in the run folder by default.

    Raises:
        ProblemError: The run cannot be read, or has no time or no space coordinate.
    """
    data = read_run(run)
    if not data.has_time or not data.space:
        over = ", ".join(data.varying) or "a single point"
        raise ProblemError(
            f"run '{data.folder}' is over {over}; an animation needs time '{TIME}' "
            "and a space coordinate."
        )
    path = Path(path) if path is not None else data.folder / "figures" / "animation.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    for frames, dpi in QUALITIES:
        _write(data, chosen_values(data, TIME, min(frames, MOST_FRAMES)), path, dpi)
        if path.stat().st_size <= MOST_BYTES:
            break
        log.info(
            "%s has %d bytes with %d frames; writing it smaller",
            path,
            path.stat().st_size,
            frames,
        )
    return path


@styled
def _write(run: RunData, times: list[float], path: Path, dpi: int) -> None:
    cuts = _instants(run, times)
    unknowns = list(run.prediction)[:MOST_UNKNOWNS]
    norms = {
        u: color_limits(
            *(c.prediction[u] for c in cuts),
            *(c.reference[u] for c in cuts if u in c.reference),
        )
        for u in unknowns
    }
    figure, panels = _panels(run, cuts[0], unknowns)
    writer = PillowWriter(fps=int(np.clip(len(times) // 5, 3, 15)))
    with writer.saving(figure, str(path), dpi):
        for i, instant in enumerate(cuts):
            _draw(panels, instant, norms)
            set_title(figure, run.title, instant.where(*instant.fixed))
            if i == 0:
                # One layout for all frames: panels must not jump when a number gets a digit.
                figure.canvas.draw()
                figure.set_layout_engine("none")
                _draw(panels, instant, norms)
            writer.grab_frame()


def _instants(run: RunData, times: list[float]) -> list[Cut]:
    shown = run.space[:2]
    fixed = {n: middle(run, n) for n in run.order if n not in shown}
    if run.layout == "scattered" and len(shown) == 1:
        # Scattered (x, t) has no points at an instant in general; the triangles of the plane
        # have values there.
        plane = cut(run, (TIME, shown[0]), {n: v for n, v in fixed.items() if n != TIME})
        return [plane.profile(1, t)[0] for t in times]
    return [cut(run, shown, {**fixed, TIME: t}) for t in times]


def _panels(
    run: RunData, first: Cut, unknowns: list[str]
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel per unknown and, over a plane, one more for its reference."""
    if len(first.names) == 1:
        figure = new_figure(5.4, 2.5 * len(unknowns) + 0.7)
        column = figure.subplots(len(unknowns), 1, squeeze=False)[:, 0]
        return figure, {(u, "curves"): axes for u, axes in zip(unknowns, column, strict=True)}
    keys = [
        (u, kind)
        for u in unknowns
        for kind in ("prediction", "reference")
        if kind == "prediction" or u in run.reference
    ]
    width, height = panel_size(first)
    if width > 6:
        figure = new_figure(width, height * len(keys) + 0.6)
        return figure, dict(
            zip(keys, figure.subplots(len(keys), 1, squeeze=False).ravel(), strict=True)
        )
    columns = 2 if run.reference else 1
    figure = new_figure(max(width * columns, 4.2), height * len(unknowns) + 0.6)
    grid = figure.subplots(len(unknowns), columns, squeeze=False)
    panels = {
        (u, kind): grid[i, j]
        for i, u in enumerate(unknowns)
        for j, kind in enumerate(("prediction", "reference"))
        if (u, kind) in keys
    }
    for axes in set(grid.ravel()) - set(panels.values()):
        axes.set_axis_off()
    return figure, panels


def _draw(
    panels: dict[tuple[str, str], Axes], instant: Cut, norms: dict[str, Normalize]
) -> None:
    for (unknown, kind), axes in panels.items():
        axes.clear()
        if kind == "curves":
            draw_curves(axes, instant, unknown)
            low, high = bounds(norms[unknown])
            pad = 0.05 * (high - low)
            axes.set_ylim(low - pad, high + pad)
            axes.legend(loc="upper right", ncols=2)
            continue
        values = (instant.prediction if kind == "prediction" else instant.reference)[unknown]
        color_bar(axes, draw_plane(axes, instant, values, norms[unknown]))
        axes.set_title(plain(f"{unknown} {kind}"))
