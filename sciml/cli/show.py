"""What the command line shows: live progress and tables; rich on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..errors import ProblemError
from ..fields import parameter_count
from ..learning import OperatorRecipe, OperatorSolution
from ..objective import Recipe
from ..problem import Problem
from ..problem.hard import build
from ..solution import Solution
from ..training import Report
from .interruption import Interruption

_console: list[Console] = []
PATIENCE = 2.0           # seconds without a sign of life
SOLVING = ("least-squares", "kronecker", "lines")      # these end by themselves, long before their time
PLAIN_WIDTH = 80         # of lines in a pipe
TABLE_WIDTH = 200        # of tables in a pipe, whose rows are better cut nowhere
CLOSE = 0.9              # an error above this share of the best constant's says that little was learnt


def console() -> Console:
    """The console that commands print to."""
    if not _console or _console[0].file is not sys.stdout:
        width = None if sys.stdout.isatty() else TABLE_WIDTH
        _console[:] = [Console(file=sys.stdout, width=width, highlight=False, soft_wrap=True, emoji=False)]
    return _console[0]


def say(text: str) -> None:
    """Plain text that is no markup: names and sentences may contain brackets."""
    console().print(text, markup=False)


def warn(text: str) -> None:
    """A sentence on stderr."""
    console().file.flush()
    print(f"sciml: {text}", file=sys.stderr, flush=True)


def number(value: float | None) -> str:
    """A number in three digits."""
    if value is None:
        return "unknown"
    return f"{value:.2e}" if value and not 0.01 <= abs(value) < 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """"12 s", "3 min", "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def wrapped(parts: Sequence[str], width: int, indent: str = "    ") -> str:
    """Parts two spaces apart, in lines of at most `width` that break between parts only."""
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}  {part}" if lines[-1].strip() else lines[-1] + part
        if len(joined) > width and lines[-1].strip():
            lines.append(indent + part)
        else:
            lines[-1] = joined
    return "\n".join(lines)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Says what takes time: a spinner on a terminal, else a line once it has taken two seconds."""
    out = console()
    if out.is_terminal:
        with out.status(text):
            yield
        return
    timer = threading.Timer(PATIENCE, lambda: say(f"{text} …"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Progress:
    """Callback for reports: a table that is redrawn on a terminal, else a line now and then.

    Args:
        problem, recipe: What runs.
        stop: Whether the user asked to stop.
        every: Seconds between plain lines, at least; later lines come at every twentieth of the time.
    """

    def __init__(self, problem: Problem, recipe: Recipe | OperatorRecipe, stop: Interruption, every: float = PATIENCE):
        self.problem, self.recipe, self.stop, self.every = problem, recipe, stop, every
        self.live: Live | None = None
        self.printed: float | None = None
        self.shown = -1
        self.last: Report | None = None
        self.starting, self.heard = "starting …", time.perf_counter()

    def __enter__(self) -> Progress:
        out = console()
        out.print(Text(self.problem.title, style="bold"))
        say(f"{self.recipe.model}, {self.recipe.optimizer}, {self.recipe.dtype} on {self.recipe.device}")
        for line in self.header():
            say(line)
        if out.is_terminal:
            self.live = Live(console=out, refresh_per_second=4, transient=True, get_renderable=self.render)
            self.live.__enter__()
        return self

    def header(self) -> list[str]:
        """What is trained and what is built in."""
        if isinstance(self.recipe, OperatorRecipe):
            data = self.recipe.data_options()
            inputs, unknowns = ", ".join(self.problem.inputs), ", ".join(self.problem.unknowns)
            how = {"data": f"{data.train} solved functions", "residual": f"{data.train} functions without solutions",
                   "both": f"{data.train} solved functions and the equations"}
            return [f"learns {inputs} ↦ {unknowns} from " + how.get(self.recipe.loss, f"{data.train} functions")]
        ansatz = build(self.problem, self.recipe.constraints)
        trained = [b.name for b in self.problem.blocks if b.name not in ansatz.satisfied]
        held = [wrapped(["built in", *sorted(ansatz.satisfied)], self.width)] if ansatz.satisfied else []
        return [*held, wrapped(["trained ", *dict.fromkeys(trained)], self.width)]

    def solved(self, done: int, total: int) -> None:
        """Says how many samples of an operator are made."""
        self.starting = f"solving sample {done} of {total} …"
        if self.stop() and done < total:
            raise ProblemError(f"{self.stop()} after {done} of {total} samples; nothing was trained")
        now = time.perf_counter()
        if self.live is None and now - self.heard >= self.every:
            self.heard = now
            say(self.starting)

    def __exit__(self, *error) -> None:
        if self.live is not None:
            self.live.__exit__(*error)
        if self.last is not None and self.last.step != self.shown:
            say(self.line(self.last))

    def __call__(self, report: Report) -> None:
        self.last = report
        if self.live is not None:
            return
        now = time.perf_counter()
        if self.printed is None or now - self.printed >= max(self.every, report.seconds / 20):
            self.printed, self.shown = now, report.step
            say(self.line(report))

    @property
    def width(self) -> int:
        """Columns to fill."""
        return console().width if console().is_terminal else PLAIN_WIDTH

    def left(self, report: Report) -> str:
        """Time left, where it can be told: not of runs that end when they are solved, mostly long before their time."""
        if self.stop():
            return "stopping after this step"
        guesses = []
        if self.recipe.time is not None and not self.ends_by_itself:
            guesses.append(max(self.recipe.time - report.seconds, 0.0))
        limits = self.planned()
        if limits and report.step and self.recipe.steps is not None or not guesses:
            steps_left = max(min(limits, default=0) - report.step, 0)
            if report.step:
                guesses.append(report.seconds / report.step * steps_left)
        return f"{duration(min(guesses))} left" if guesses and min(guesses) > 0 else ""

    @property
    def ends_by_itself(self) -> bool:
        """Whether the last stage stops where its equations are solved."""
        return not isinstance(self.recipe, OperatorRecipe) and self.recipe.stages()[-1].optimizer in SOLVING

    def planned(self) -> list[int]:
        """Numbers of steps that end the run."""
        if isinstance(self.recipe, OperatorRecipe):
            total = self.recipe.total_steps(self.recipe.data_options().train)
            return [total] if total is not None else []
        stages = self.recipe.stages()
        planned = [s.steps for s in stages if s.steps is not None]
        limits = [sum(planned)] if len(planned) == len(stages) else []
        return limits + ([self.recipe.steps] if self.recipe.steps is not None else [])

    def line(self, report: Report) -> str:
        """A report in as few lines as the width allows."""
        parts = [f"step {report.step}", duration(report.seconds), report.stage, f"loss {number(report.loss)}"]
        parts += [f"error {n} {number(v)}" for n, v in report.errors.items()]
        parts += [f"{n} = {v:.6g}" for n, v in report.parameters.items()]
        left = self.left(report)
        parts += [left] if left else []
        parts += [f"{n} {number(v)}" for n, v in report.losses.items()] if len(report.losses) > 1 else []
        parts += [f"{n} {number(v)}" for n, v in report.extras.items() if "weight" in n and " point " not in n]
        return wrapped(parts, self.width)

    def render(self) -> Group:
        """What is live on the terminal."""
        return Group(Text(self.starting) if self.last is None else self.table(self.last))

    def table(self, report: Report) -> Table:
        """A report as a table for the terminal."""
        parts = [f"step {report.step}", duration(report.seconds), report.stage, f"loss {number(report.loss)}",
                 self.left(report)]
        table = Table(title=Text("   ".join(p for p in parts if p), style="italic"), title_justify="left", box=None,
                      padding=(0, 2, 0, 0))
        table.add_column("condition", overflow="ellipsis", no_wrap=True, max_width=32)
        table.add_column("mean square", justify="right", no_wrap=True)
        weights = {n: weight_of(report, n) for n in report.losses}
        weighted = any(weights.values())
        if weighted:
            table.add_column("weight", justify="right", no_wrap=True)
        table.add_column("unknown", overflow="ellipsis", no_wrap=True, max_width=16)
        table.add_column("relative L2", justify="right", no_wrap=True)
        losses = [(n, number(v), *([weights[n]] if weighted else [])) for n, v in report.losses.items()]
        blank = ("",) * (2 + weighted)
        found = [(f"{n} = {report.parameters[n]:.6g}" if n in report.parameters else n, number(v))
                 for n, v in report.errors.items()]
        found += [(f"{n} = {v:.6g}", "") for n, v in report.parameters.items() if n not in report.errors]
        for i in range(max(len(losses), len(found))):
            row = (*(losses[i] if i < len(losses) else blank), *(found[i] if i < len(found) else ("", "")))
            table.add_row(*(Text(cell) for cell in row))
        return table


def weight_of(report: Report, condition: str) -> str:
    """Weight of a condition, and the range of those of its points; empty where neither was reported."""
    extras = report.extras
    own = extras.get(f"weight {condition}")
    low, high = (extras.get(f"{what} point weight {condition}") for what in ("min", "max"))
    parts = [number(own)] if own is not None else []
    parts += [f"points {number(low)} to {number(high)}"] if low is not None and high is not None else []
    return ", ".join(parts)


def operator_table(solution: OperatorSolution) -> None:
    """Errors of an operator on its test functions, what it took, and the classical solver beside it."""
    out, result = console(), solution.result()
    if result["relative_l2"]:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("unknown", "mean relative L2 error", "worst", "mean field"):
            table.add_column(name, justify="left" if name == "unknown" else "right")
        for u, e in result["relative_l2"].items():
            table.add_row(Text(u), number(e), number(result["worst"][u]), number(result["null_score"][u]))
        out.print(table)
    data = f" after {result['data_seconds']:.1f} s of solving samples" if result["data_seconds"] else ""
    say(f"{solution.steps} steps in {solution.seconds:.1f} s of training{data}, {result['parameters']:,} parameters, "
        f"seed {result['seed']}, {result['threads']} threads, {result['dtype']}")
    if "operator_seconds" in result:
        pays = result["break_even"]
        after = "never: it is not faster" if pays == float("inf") else f"from {pays:,.0f} functions on"
        say(f"one function: operator {number(1e3 * result['operator_seconds'])} ms, reference solver "
            f"{number(1e3 * result['solver_seconds'])} ms; pays off {after}")
    say(f"reference: {result['reference']}")


def errors_table(solution: Solution) -> None:
    """Errors against the reference and against the best constant, found parameters, and what it took."""
    out = console()
    result = solution.result()
    if result["relative_l2"]:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("unknown", "relative L2 error", "best constant"):
            table.add_column(name, justify="left" if name == "unknown" else "right")
        for u, e in result["relative_l2"].items():
            table.add_row(Text(u), number(e), number(result["null_score"][u]))
        out.print(table)
    for name, value in result["parameter_values"].items():
        known = result["parameter_errors"].get(name)
        say(f"{name} = {value:.8g}" + (f"  (relative error {number(known)})" if known is not None else ""))
    wall = solution.wall_seconds
    whole = "" if wall is None else f" (this call: {wall:.1f} s with start, reports and checkpoints)"
    say(f"{solution.steps} steps in {solution.seconds:.1f} s of training{whole}, "
        f"{parameter_count(solution.objective):,} parameters, seed {result['seed']}, {result['threads']} threads, "
        f"{result['dtype']}")
    say(f"reference: {result['reference']}")
    for sentence in result["other_states"]:
        warn(sentence)
    poor = [u for u, e in result["relative_l2"].items() if not e < CLOSE * result["null_score"][u]]
    if poor:
        warn(f"the error of {', '.join(poor)} is no better than that of the best constant: the field has learnt next "
             "to nothing yet; train longer, or try another optimizer or more points")


def succeeded(status: str) -> bool:
    """Whether a run ended as the user wanted: its budget used, stopped on request, or nothing left to gain."""
    return status == "ok" or status.startswith(("interrupted", "stopped"))
