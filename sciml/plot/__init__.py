"""Figures of a run, drawn from its folder alone.

`plot_run` writes every figure that applies into ``<run>/figures``; `animate` makes a GIF over
time and `animate_points` one over training, `export_vtu` a file for ParaView, and
`plot_comparison` sets several runs against each other. The functions that end in `_figure`
return a `matplotlib.figure.Figure`, or None where the figure does not apply. Neither the model
nor torch is needed, and matplotlib's global state is left alone.
"""

from __future__ import annotations

from pathlib import Path

from sciml.plot.animation import animate
from sciml.plot.comparison import comparison_figure, plot_comparison
from sciml.plot.diagnostics import diagnostics_figure
from sciml.plot.fields import solution_figure
from sciml.plot.gaussians import gaussians_figure
from sciml.plot.lines import lines_figure
from sciml.plot.operators import operator_errors_figure, operator_figure
from sciml.plot.points import points_figure
from sciml.plot.run import RunData, read_run
from sciml.plot.streamlines import streamlines_figure
from sciml.plot.style import save
from sciml.plot.trail import animate_points
from sciml.plot.training import training_figure
from sciml.plot.vtu import export_vtu

__all__ = [
    "RunData",
    "animate",
    "animate_points",
    "comparison_figure",
    "diagnostics_figure",
    "export_vtu",
    "gaussians_figure",
    "lines_figure",
    "operator_errors_figure",
    "operator_figure",
    "plot_comparison",
    "plot_run",
    "points_figure",
    "read_run",
    "solution_figure",
    "streamlines_figure",
    "training_figure",
]

FIGURES = {
    "operator": operator_figure,
    "operator_errors": operator_errors_figure,
    "solution": solution_figure,
    "lines": lines_figure,
    "training": training_figure,
    "diagnostics": diagnostics_figure,
    "points": points_figure,
    "streamlines": streamlines_figure,
    "gaussians": gaussians_figure,
}


def plot_run(run: str | Path) -> list[Path]:
    """Draws every figure that applies to a run and returns their paths.

    ``solution.png`` shows the first unknown where its rows are times; ``solution_v.png`` and so
    on show the others.

    Args:
        run: The run folder.

    Raises:
        ProblemError: The folder cannot be read; the sentence says which file and why.
    """
    data = read_run(run)
    folder = data.folder / "figures"
    paths = []
    for name, draw in FIGURES.items():
        figure = draw(data)
        if figure is not None:
            paths.append(save(figure, folder / f"{name}.png"))
    if data.has_time and len(data.space) >= 2:
        for unknown in list(data.prediction)[1:]:
            safe = "".join(c if c.isalnum() else "_" for c in unknown)
            paths.append(save(solution_figure(data, unknown), folder / f"solution_{safe}.png"))
    return paths
