"""What the command line shows: live progress and tables; rich on a terminal, plain lines otherwise."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ..fields import parameter_count
from ..problem import Problem
from ..problem.hard import build
from ..solution import Solution
from ..training import Recipe, Report

_console: list[Console] = []


def console() -> Console:
    """The console that commands print to."""
    if not _console or _console[0].file.closed:
        _console[:] = [Console(highlight=False, soft_wrap=True)]
    return _console[0]


def number(value: float) -> str:
    """A number in three digits."""
    return f"{value:.2e}" if value and not 0.01 <= abs(value) < 1000 else f"{value:.4g}"


class Progress:
    """Callback for reports: a table that is redrawn on a terminal, else a line every few seconds.

    Args:
        problem, recipe: What runs.
        every: Seconds between plain lines.
    """

    def __init__(self, problem: Problem, recipe: Recipe, every: float = 5.0):
        self.problem, self.recipe, self.every = problem, recipe, every
        self.live: Live | None = None
        self.printed = -1e9
        self.last: Report | None = None

    def __enter__(self) -> Progress:
        out = console()
        ansatz = build(self.problem, self.recipe.constraints)
        left = [b.name for b in self.problem.blocks if b.name not in ansatz.satisfied]
        out.print(f"[bold]{self.problem.title}[/]")
        built = f"built in: {', '.join(sorted(ansatz.satisfied))}; " if ansatz.satisfied else ""
        out.print(f"{self.recipe.model}, {self.recipe.optimizer}, {self.recipe.dtype} on {self.recipe.device}; "
                  f"{built}trained: {', '.join(dict.fromkeys(left))}")
        if out.is_terminal:
            self.live = Live(console=out, refresh_per_second=4, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, *error) -> None:
        if self.live is not None:
            self.live.__exit__(*error)
        if self.last is not None:
            console().print(self.line(self.last))

    def __call__(self, report: Report) -> None:
        self.last = report
        if self.live is not None:
            self.live.update(self.table(report))
        elif time.perf_counter() - self.printed >= self.every:
            self.printed = time.perf_counter()
            console().print(self.line(report))

    def left(self, report: Report) -> str:
        """Time left, where it can be told."""
        if self.recipe.time is not None:
            return f"{max(self.recipe.time - report.seconds, 0):.0f} s left"
        total = sum(s.steps or 0 for s in self.recipe.stages())
        if report.step and total > report.step:
            return f"about {report.seconds / report.step * (total - report.step):.0f} s left"
        return ""

    def line(self, report: Report) -> str:
        """A report in one line."""
        parts = [f"step {report.step}", f"{report.seconds:.1f} s", report.stage, f"loss {number(report.loss)}"]
        parts += [f"{n} {number(v)}" for n, v in report.losses.items()] if len(report.losses) > 1 else []
        parts += [f"error {n} {number(v)}" for n, v in report.errors.items()]
        parts += [f"{n} = {v:.6g}" for n, v in report.parameters.items()]
        left = self.left(report)
        return "  ".join(parts + ([left] if left else []))

    def table(self, report: Report) -> Table:
        """A report as a table for the terminal."""
        table = Table(title=f"step {report.step}   {report.seconds:.0f} s   {report.stage}   {self.left(report)}",
                      title_justify="left", box=None, padding=(0, 2))
        table.add_column("condition")
        table.add_column("mean square", justify="right")
        table.add_column("unknown")
        table.add_column("relative L2", justify="right")
        losses = list(report.losses.items())
        found = [*report.errors.items()]
        for i in range(max(len(losses), len(found))):
            a = (losses[i][0], number(losses[i][1])) if i < len(losses) else ("", "")
            b = (found[i][0], number(found[i][1])) if i < len(found) else ("", "")
            table.add_row(*a, *b)
        return table


def errors_table(solution: Solution) -> None:
    """Errors against the reference and against the best constant."""
    out = console()
    result = solution.result()
    if result["relative_l2"]:
        table = Table(box=None, padding=(0, 2))
        for name in ("unknown", "relative L2 error", "best constant"):
            table.add_column(name, justify="left" if name == "unknown" else "right")
        for u, e in result["relative_l2"].items():
            table.add_row(u, number(e), number(result["null_score"][u]))
        out.print(table)
    for name, value in result["parameter_values"].items():
        known = result["parameter_errors"].get(name)
        out.print(f"{name} = {value:.8g}" + (f"  (relative error {number(known)})" if known is not None else ""))
    out.print(f"{solution.steps} steps in {solution.seconds:.1f} s, {parameter_count(solution.objective)} parameters, "
              f"seed {result['seed']}, {result['threads']} threads, {result['dtype']}; reference: {result['reference']}")
