"""Flow (u, v) over (x, y) as streamlines coloured by speed."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sciml.plot.cut import Cut, default_cuts
from sciml.plot.fields import frame, panel_size
from sciml.plot.run import RunData
from sciml.plot.style import (
    FIELD_MAP,
    OUTSIDE,
    color_bar,
    color_limits,
    new_figure,
    plain,
    set_title,
    styled,
)

FINEST = 200  # intervals per axis that streamlines are integrated on


@styled
def streamlines_figure(run: RunData) -> Figure | None:
    """Streamlines of the prediction beside those of the reference; None unless u and v lie on
    an (x, y) grid.

    The last time, and the middle of every other coordinate.
    """
    plane = default_cuts(run)[-1]
    if (
        plane.scattered
        or set(plane.names) != {"x", "y"}
        or not {"u", "v"} <= set(run.prediction)
    ):
        return None
    flows = {"prediction": plane.prediction}
    if {"u", "v"} <= set(plane.reference):
        flows["reference"] = plane.reference
    speeds = [np.hypot(f["u"], f["v"]) for f in flows.values()]
    if not all((s[np.isfinite(s)] > 0).any() for s in speeds):
        return None
    norm = color_limits(np.zeros(1), *speeds)
    width, height = panel_size(plane, 4.4)
    shape = (len(flows), 1) if width > 6 else (1, len(flows))
    figure = new_figure(width * shape[1], height * shape[0] + 0.4)
    panels = figure.subplots(*shape, squeeze=False).ravel()
    for axes, (name, flow) in zip(panels, flows.items(), strict=True):
        _streams(axes, plane, flow, norm)
        axes.set_title(f"streamlines, {name}")
    held = plane.where(*plane.fixed)
    set_title(figure, run.title, f"slice at {held}" if held else "")
    return figure


def _streams(axes: Axes, plane: Cut, flow: dict[str, np.ndarray], norm: Normalize) -> None:
    axes.set_facecolor(OUTSIDE if not np.isfinite(flow["u"]).all() else "white")
    x, y, u = uniform(plane.axes[0], plane.axes[1], flow["u"])
    _, _, v = uniform(plane.axes[0], plane.axes[1], flow["v"])
    turned = plane.names == ("y", "x")
    across, up = (v, u) if turned else (u, v)
    drawn = axes.streamplot(
        x,
        y,
        across,
        up,
        color=np.hypot(u, v),
        norm=norm,
        cmap=FIELD_MAP,
        density=1.3,
        linewidth=1.0,
        arrowsize=0.8,
    )
    color_bar(axes, drawn.lines, "speed")
    frame(axes, plane)
    axes.set(xlabel=plain(plane.names[0]), ylabel=plain(plane.names[1]))


def uniform(
    x: np.ndarray, y: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (len(y), len(x)) on equally spaced axes through linear interpolation, as
    streamlines need them."""
    even = [np.linspace(a[0], a[-1], int(np.clip(a.size, 2, FINEST))) for a in (x, y)]
    along_x = np.stack([np.interp(even[0], x, row) for row in values])
    return (
        even[0],
        even[1],
        np.stack([np.interp(even[1], y, column) for column in along_x.T], axis=1),
    )
