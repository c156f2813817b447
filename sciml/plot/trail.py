"""Where the run looked, moving as training went on: a GIF of the points that it stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from sciml.errors import ProblemError
from sciml.plot.cut import Cut, default_cuts
from sciml.plot.density import LEAST_POINTS, cell_centers, inside_of, octaves, relative_density
from sciml.plot.fields import frame, panel_size
from sciml.plot.run import Arrays, RunData, read_run
from sciml.plot.style import CYCLE, SAND, color_bar, new_figure, plain, set_title, styled

FILE = "points.h5"
DPI = 80
FRAMES_PER_SECOND = 5


@dataclass(frozen=True)
class Moment:
    """Points at one moment of training.

    Attributes:
        step, seconds: When.
        points: Condition to a column (N,) per coordinate.
    """

    step: int
    seconds: float
    points: dict[str, Arrays]


def read_trail(folder: Path, order: tuple[str, ...]) -> list[Moment]:
    """The stored moments, oldest first; empty if the points never moved.

    Args:
        folder: The run folder.
        order: Names of the coordinates; a condition without one of them is left out.

    Raises:
        ProblemError: The file is cut short.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        with h5py.File(path, "r") as file:
            return [
                Moment(
                    int(group.attrs["step"]),
                    float(group.attrs["seconds"]),
                    {
                        name: {n: np.asarray(columns[n], dtype=float) for n in order}
                        for name, columns in group.items()
                        if all(n in columns for n in order)
                    },
                )
                for _, group in sorted(file.items())
            ]
    except (OSError, RuntimeError, KeyError) as error:
        raise ProblemError(
            f"'{path}' is cut short or not a trail of points ({error}); remove it, the other "
            "figures do without."
        ) from error


@styled
def animate_points(run: str | Path, path: str | Path | None = None) -> Path | None:
    """GIF of the points and of their density, a frame per moment of training that was stored.

    Args:
        run: The run folder.
        path: Where to write; ``figures/points.gif`` in the run folder by default.

    Returns:
        The path; None for a run whose points never moved, or that is over a line.

    Raises:
        ProblemError: The run cannot be read.
    """
    data = read_run(run)
    moments = [m for m in read_trail(data.folder, data.order) if m.points]
    plane = default_cuts(data)[-1]
    if not moments or len(plane.names) != 2:
        return None
    path = Path(path) if path is not None else data.folder / "figures" / "points.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(data, plane, moments, path)
    return path


def _write(run: RunData, plane: Cut, moments: list[Moment], path: Path) -> None:
    sizes = {n: next(iter(c.values())).size for n, c in moments[-1].points.items()}
    crowd = max(sizes, key=lambda n: sizes[n])
    dense = min(next(iter(m.points[crowd].values())).size for m in moments) >= LEAST_POINTS
    densities = [_density(run, plane, m.points[crowd]) for m in moments] if dense else []
    reach = max([1.0, *(float(np.nanquantile(np.abs(d), 0.995)) for d in densities)])
    width, height = panel_size(plane, 4.0)
    count = 1 + dense
    stacked = width > 6
    across, up = (1, count) if stacked else (count, 1)
    figure = new_figure(width * across, height * up + 1.0)
    panels = figure.subplots(up, across, squeeze=False).ravel()
    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    with writer.saving(figure, str(path), DPI):
        for i, moment in enumerate(moments):
            set_title(
                figure, run.title, f"step {moment.step:,}, {moment.seconds:.0f} s of training"
            )
            for _ in range(2 if i == 0 else 1):
                _dots(panels[0], plane, moment)
                if dense:
                    _map(panels[1], plane, densities[i], reach, crowd)
                if i == 0:
                    if not figure.legends:
                        handles, _ = panels[0].get_legend_handles_labels()
                        figure.legend(
                            handles=handles, loc="outside lower center", ncols=3, markerscale=2
                        )
                    # One layout for all frames: panels must not jump.
                    figure.canvas.draw()
                    figure.set_layout_engine("none")
            writer.grab_frame()


def _density(run: RunData, plane: Cut, columns: Arrays) -> np.ndarray:
    x, y = (columns[n] for n in plane.names)
    inside = inside_of(run, plane.names, plane.extent)
    return octaves(relative_density(x, y, plane.extent, inside))


def _dots(axes: Axes, plane: Cut, moment: Moment) -> None:
    axes.clear()
    for i, (condition, columns) in enumerate(moment.points.items()):
        x, y = (columns[n] for n in plane.names)
        axes.scatter(
            x,
            y,
            s=float(np.clip(3000 / x.size, 2, 10)),
            color=CYCLE[i % len(CYCLE)],
            linewidths=0,
            clip_on=False,
            label=plain(condition),
        )
    frame(axes, plane)
    axes.set_title("collocation points")


def _map(axes: Axes, plane: Cut, density: np.ndarray, reach: float, condition: str) -> None:
    axes.clear()
    axes.set_facecolor(SAND)
    drawn = axes.pcolormesh(
        *cell_centers(plane.extent),
        density,
        norm=Normalize(-reach, reach),
        cmap="RdBu_r",
        rasterized=True,
    )
    color_bar(axes, drawn)
    frame(axes, plane)
    axes.set_title(plain(f"log₂ density of {condition} (0: even)"))
