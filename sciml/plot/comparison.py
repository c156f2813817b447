"""Error over seconds of several choices, each over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.errors import ProblemError
from sciml.plot.run import existing_folder, read_history, read_result
from sciml.plot.style import CYCLE, DASHES, new_figure, plain, save, styled
from sciml.plot.training import series, time_axis

SAMPLES = 300


def plot_comparison(runs: Mapping[str, Sequence[str | Path]], path: str | Path) -> Path:
    """Figure of relative L2 error over seconds: per label the median of its seeds and the band
    they span.

    A panel per unknown. A run that ended early keeps its last error, which is what it would
    have handed over. The grey dashed line is the error of the best constant.

    Args:
        runs: Label to the run folders of its seeds; only `metrics.jsonl` and `result.json` are
            read.
        path: Where to write the PNG.

    Raises:
        ProblemError: There are no runs, or one of them is missing or has no errors against a
            reference.
    """
    return save(comparison_figure(runs), Path(path))


@styled
def comparison_figure(runs: Mapping[str, Sequence[str | Path]]) -> Figure:
    """The figure that `plot_comparison` writes."""
    if not runs or not all(runs.values()):
        empty = [label for label, folders in runs.items() if not folders]
        raise ProblemError(
            f"label '{empty[0]}' has no runs to compare; give it at least one run folder."
            if empty
            else "there are no runs to compare; give a label with at least one run folder."
        )
    curves = {
        label: [_errors(existing_folder(f)) for f in folders] for label, folders in runs.items()
    }
    unknowns = list(
        dict.fromkeys(u for seeds in curves.values() for _, errors in seeds for u in errors)
    )
    columns = min(3, len(unknowns))
    rows = -(-len(unknowns) // columns)
    figure = new_figure(max(4.6 * columns, 6.2), 3.6 * rows + 0.25 * (1 + len(runs) // 3))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    null = read_result(existing_folder(next(iter(runs.values()))[0])).get("null_score")
    for axes, unknown in zip(panels, unknowns, strict=False):
        _panel(axes, unknown, curves)
        if (
            isinstance(null, dict)
            and isinstance(null.get(unknown), int | float)
            and null[unknown] > 0
        ):
            axes.axhline(
                null[unknown], color="0.5", linestyle="--", linewidth=1.0, label="best constant"
            )
    for axes in panels[len(unknowns) :]:
        axes.set_axis_off()
    named = {
        label: h
        for axes in panels[: len(unknowns)]
        for h, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=min(3, len(named))
    )
    return figure


def _errors(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    history = read_history(folder)
    errors = {
        u: e for u, e in series(history, "errors").items() if (np.isfinite(e) & (e > 0)).any()
    }
    if not errors:
        raise ProblemError(
            f"run '{folder}' has no errors in metrics.jsonl; a comparison needs a "
            "problem with a reference."
        )
    seconds, axis = time_axis(history)
    if axis != "seconds":
        raise ProblemError(
            f"run '{folder}' has lines without seconds in metrics.jsonl; solve it again."
        )
    return seconds, errors


def _panel(axes: Axes, unknown: str, curves: dict) -> None:
    for i, (label, seeds) in enumerate(curves.items()):
        seeds = [(seconds, errors[unknown]) for seconds, errors in seeds if unknown in errors]
        if not seeds:
            continue
        seconds, band = common_seconds(seeds)
        color = CYCLE[i % len(CYCLE)]
        axes.fill_between(
            seconds, band.min(axis=0), band.max(axis=0), color=color, alpha=0.18, linewidth=0
        )
        axes.plot(
            seconds,
            np.median(band, axis=0),
            color=color,
            linestyle=DASHES[i // len(CYCLE) % len(DASHES)],
            label=plain(f"{label} ({len(seeds)} seed{'s' if len(seeds) > 1 else ''})"),
        )
    axes.set(yscale="log", xlabel="seconds", ylabel=plain(f"relative L2 error of {unknown}"))
    axes.grid(True)


def common_seconds(seeds: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Errors of several seeds at the same seconds.

    Between reports log(error) is linear in seconds; after the last report the error stays as it
    is.

    Args:
        seeds: Seconds (N,) and errors (N,) of each; NaN is passed over.

    Returns:
        Seconds (300,) from when every seed has reported to the last report of any, and errors
        (B, 300).
    """
    kept = [(s[ok], e[ok]) for s, e in seeds for ok in [np.isfinite(e) & (e > 0)]]
    seconds = np.linspace(max(s[0] for s, _ in kept), max(s[-1] for s, _ in kept), SAMPLES)
    return seconds, np.exp(np.stack([np.interp(seconds, s, np.log(e)) for s, e in kept]))
