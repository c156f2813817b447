"""The Gaussians of a field as ellipses, over what they add up to."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from sciml.plot.cut import Cut, default_cuts
from sciml.plot.fields import draw_plane, frame, panel_size
from sciml.plot.points import PALE_GREYS
from sciml.plot.run import RunData
from sciml.plot.style import color_bar, color_limits, new_figure, set_title, styled

WARM = ListedColormap(matplotlib.colormaps["inferno_r"](np.linspace(0.2, 0.95, 256)))    # no pale lines on white
DECADES = 6.0            # amplitudes below max/10⁶ take the first colour


@styled
def gaussians_figure(run: RunData) -> Figure | None:
    """Centres and 1-σ ellipses, over the prediction: coloured by the amplitude, and by the size.

    Both colours are logarithms: log₁₀ of the norm of the amplitudes over the unknowns, and log₂ of the geometric mean
    of the semi-axes over the largest. Ellipses are projected on the plane of the figure from every other coordinate.

    Returns:
        The figure; None for a run without Gaussians, or over a single coordinate.
    """
    shown = default_cuts(run)[-1] if run.gaussians else None
    if shown is None or len(shown.names) != 2:
        return None
    columns = [run.order.index(n) for n in shown.names]
    centres, covariances = run.gaussians["centres"][:, columns], run.gaussians["covariances"][:, columns][:, :, columns]
    amplitudes = np.log10(np.maximum(np.linalg.norm(run.gaussians["amplitudes"], axis=1), 1e-300))
    top = float(amplitudes.max())
    sizes = 0.25 * np.log2(np.maximum(np.linalg.det(covariances), 1e-300))
    sizes = sizes.max() - sizes
    width, height = panel_size(shown, 4.6)
    figure = new_figure(2 * width, height + 0.6)
    panels = figure.subplots(1, 2)
    low = max(top - DECADES, float(amplitudes.min()))
    for axes, values, norm, colours, title in (
        (panels[0], amplitudes, Normalize(min(low, top - 0.1), top), WARM, "log₁₀ |amplitude|"),
        (panels[1], sizes, Normalize(0, max(float(sizes.max()), 1.0)), "viridis_r", "times halved"),
    ):
        _background(axes, shown)
        color_bar(axes, _ellipses(axes, centres, covariances, values, norm, colours))
        axes.set_title(title)
    set_title(figure, run.title, f"{len(centres)} Gaussians with their 1-σ ellipses")
    return figure


def _background(axes: Axes, shown: Cut) -> None:
    values = next(iter(shown.prediction.values()))
    draw_plane(axes, shown, values, color_limits(values), PALE_GREYS)
    frame(axes, shown)


def _ellipses(axes: Axes, centres: np.ndarray, covariances: np.ndarray, values: np.ndarray, norm: Normalize,
              colours: str | Colormap) -> EllipseCollection:
    """Ellipses (x − μ)ᵀ Σ⁻¹ (x − μ) = 1, the large ones first."""
    squares, axes_of = np.linalg.eigh(covariances)
    angles = np.degrees(np.arctan2(axes_of[:, 1, 1], axes_of[:, 0, 1]))
    order = np.argsort(-squares.prod(1), kind="stable")
    found = EllipseCollection(2 * np.sqrt(squares[order, 1]), 2 * np.sqrt(squares[order, 0]), angles[order], units="xy",
                              offsets=centres[order], offset_transform=axes.transData, facecolors="none",
                              linewidths=0.7, cmap=colours, norm=norm)
    found.set_array(values[order])
    axes.add_collection(found, autolim=False)
    axes.scatter(centres[order, 0], centres[order, 1], s=1.2, c=values[order], cmap=colours, norm=norm, linewidths=0)
    return found
