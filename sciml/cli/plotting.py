"""Redraw the figures of a run; animate it over time; export it for ParaView.

    sciml plot runs/burgers-0
    sciml plot runs/burgers-0 --animate --vtu burgers.vtu
"""

from __future__ import annotations

from pathlib import Path

from ..plot import animate, animate_points, export_vtu, plot_run, read_run
from .show import say, working

HELP = "redraw figures of a run, animate it, export it to VTU"


def add_arguments(parser) -> None:
    """Arguments of `sciml plot`."""
    parser.add_argument("run_folder", metavar="RUN", help="run folder")
    parser.add_argument("--animate", action="store_true",
                        help="write animated GIFs: over time, and of points over training")
    parser.add_argument("--vtu", metavar="FILE", help="write prediction, reference and error as VTU")


def run(arguments) -> int:
    """Runs `sciml plot`."""
    folder = Path(arguments.run_folder)
    with working("drawing figures"):
        made = list(plot_run(folder))
    if arguments.animate:
        with working("drawing the frames of the animation"):
            moved = animate_points(folder)
            data = read_run(folder)
            if moved is None or (data.has_time and data.space):
                made.append(animate(folder))          # without time, and points at rest: it says why there is none
            made += [moved] if moved is not None else []
    if arguments.vtu:
        made.append(export_vtu(folder, Path(arguments.vtu)))
    for path in made:
        say(str(path))
    return 0
