"""How every figure looks: fonts, colours, sizes, and how it reaches the disk.

Figures are built from `matplotlib.figure.Figure` on an Agg canvas; pyplot is never imported,
because it holds global state and looks for a screen. The style applies inside `styled` only, so
that the user's rcParams stay as they are.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, ScalarFormatter

DPI = 130
FIELD_MAP = "viridis"
ERROR_MAP = "RdBu_r"
OUTSIDE = "0.88"  # grey where there is no value: holes, and points outside the domain
PREDICTION = "#D55E00"
REFERENCE = "0.25"
# Okabe and Ito (2008): eight colours that the colour-blind tell apart; black last.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F6A00", "#000000")
DASHES = ("-", "--", ":")

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.titlepad": 7,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "figure.titlesize": 12,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "text.usetex": False,
}

SAND = "#f3ead9"  # outside the domain, where grey would read as an error
# Used as a decorator: the style holds while the function runs, and the user's comes back.
styled = matplotlib.rc_context(STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of a size in inches, with a constrained layout on an Agg canvas."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.04)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Ticks are made while drawing, so drawing needs the style too.
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=DPI, format="png")
    return path


def plain(text: str) -> str:
    """The text as it stands: a $ in a name must not start a formula."""
    return text.replace("$", r"\$")


def set_title(figure: Figure, *lines: str) -> None:
    """Title of the figure; empty lines are left out, long ones wrapped to the width of the
    figure."""
    columns = max(20, int(figure.get_figwidth() * 11))
    wrapped = [part for line in lines if line for part in textwrap.wrap(line, columns)]
    if wrapped:
        figure.suptitle(plain("\n".join(wrapped)))


def scientific(value: float | None) -> str:
    """A number as 1.23e-04; an empty string for None."""
    return "" if value is None else f"{value:.2e}"


MANY, FAR = 1000, 6.0        # points that a share of them needs; ratio at which outliers are cut off


def color_limits(*arrays: np.ndarray) -> Normalize:
    """Limits that hold every finite value of all arrays, or their middle 99 % if a few points lie far outside.

    A pressure that is singular in two corners would else leave the rest of its field in one colour; the colour bar
    shows by its arrows that values go on.
    """
    finite = np.concatenate([a[np.isfinite(a)].ravel() for a in arrays])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if finite.size >= MANY:
        inner = np.quantile(finite, [0.005, 0.995])
        if high - low > FAR * (inner[1] - inner[0]) > 0:
            low, high = (float(q) for q in inner)
    # A constant field differs by rounding only; spreading that over the colour map would draw
    # noise.
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        half = 0.5 * max(abs(low), abs(high), 1e-12)
        low, high = low - half, high + half
    return Normalize(low, high)


def bounds(norm: Normalize) -> tuple[float, float]:
    """The limits of a norm that has them."""
    assert norm.vmin is not None and norm.vmax is not None
    return float(norm.vmin), float(norm.vmax)


def symmetric_limits(error: np.ndarray) -> Normalize:
    """Limits ±max |error| (as in `color_limits`, without a few far points), so that the middle of a map is zero."""
    finite = np.abs(error[np.isfinite(error)])
    bound = float(finite.max()) if finite.size and finite.max() > 0 else 1e-16
    if finite.size >= MANY:
        inner = float(np.quantile(finite, 0.99))
        bound = inner if bound > FAR * inner > 0 else bound
    return Normalize(-bound, bound)


def _beyond(mappable) -> str:
    """Which ends of a colour bar values go beyond."""
    values, norm = mappable.get_array(), mappable.norm
    if values is None or norm.vmin is None:
        return "neither"
    finite = np.asarray(values, dtype=float)[np.isfinite(np.asarray(values, dtype=float))]
    slack = 1e-9 * (norm.vmax - norm.vmin)
    under = bool(finite.size) and finite.min() < norm.vmin - slack
    over = bool(finite.size) and finite.max() > norm.vmax + slack
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((under, over), "neither")


def color_bar(axes: Axes, mappable, label: str = "") -> None:
    """Colour bar as tall as the panel itself, also where the aspect is fixed."""
    # A tenth of an inch wide on any panel: the position before layout is close enough.
    figure: Any = axes.figure
    inch = 1.0 / (axes.get_position().width * figure.get_figwidth())
    bar_axes = axes.inset_axes((1.0 + 0.08 * inch, 0.0, 0.11 * inch, 1.0))
    form = ScalarFormatter(useMathText=True)
    form.set_powerlimits((-2, 3))
    bar = figure.colorbar(mappable, cax=bar_axes, format=form, ticks=MaxNLocator(5), extend=_beyond(mappable))
    bar.outline.set_linewidth(0.6)
    bar_axes.yaxis.set_offset_position("left")
    if label:
        bar.set_label(plain(label))
