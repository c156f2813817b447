"""One figure of a solution as a picture of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def picture(save: Callable[[str], object], name: str, path) -> Path:
    """Draws a run folder that is kept nowhere, and copies one of its figures.

    Args:
        save: Writes the run folder.
        name: Of the figure; the first one if there is none of this name.
        path: Of the picture.
    """
    from ..plot import plot_run  # matplotlib is for those who draw

    with tempfile.TemporaryDirectory() as folder:
        save(folder)
        figures = plot_run(Path(folder))
        first = next((f for f in figures if f.name == name), figures[0])
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first, path)
    return Path(path)
