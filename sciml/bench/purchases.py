"""Which measurements to buy in inverse problems: errors of what is sought by how many were chosen, and how.

Gauss–Newton, the same points and steps for all; a fifth of the measurements is drawn at random at the start, the rest
is bought in four purchases. What counts: the largest relative error of the unknown coefficients, or that of the field
no measurement sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from .row import Row

# (sampler, choice) by what the table calls them; the random choice has the points of pinnacle-k
CHOICES = {"random": ("pinnacle-k", "random"), "PINNACLE-K": ("pinnacle-k", "drift"),
           "PINNACLE-S": ("pinnacle-s", "drift"), "information": ("pinnacle-k", "information")}
EVERY = 5                          # steps of Gauss–Newton between purchases
# Steps, what counts, the recipe beside the problem's, and the numbers of measurements of each choice.
PROBLEMS: dict[str, tuple[int, str, tuple[str, ...], Mapping[str, Any], Mapping[str, tuple[int, ...]]]] = {
    "vortex_inverse": (80, "parameters", (), {},
                       {"random": (10, 30, 100), "PINNACLE-K": (10,), "PINNACLE-S": (10,), "information": (10,)}),
    "eikonal_inverse": (60, "field", ("v",), {"points": 200},
                        {"random": (10, 30, 100), "PINNACLE-K": (10,), "PINNACLE-S": (10,), "information": (10,)}),
    "navier_stokes_inverse": (80, "parameters", (), {"points": 500, "model": {"width": 14, "depth": 3}},
                              {"random": (50, 100), "information": (50,)}),
}


def rows() -> tuple[Row, ...]:
    """A row for every problem, choice and number of measurements."""
    found = []
    for problem, (steps, measure, unknowns, recipe, counts) in PROBLEMS.items():
        for name, numbers in counts.items():
            sampler, choice = CHOICES[name]
            for n in numbers:
                options = {**recipe, "optimizer": "gauss-newton", "sampler": sampler, f"{sampler}.every": EVERY,
                           f"{sampler}.ahead": EVERY, f"{sampler}.measurements": n // 5, f"{sampler}.budget": n,
                           f"{sampler}.choice": choice, f"{sampler}.pool": 4.0, f"{sampler}.rows": "plain"}
                found.append(Row(problem, 0, None, measure, unknowns, label=name, options=options, steps=steps,
                                 method=f"{name.lower()}-{n}"))
    return tuple(found)


ROWS = rows()


def table(device: str, out: Path) -> str:
    """Markdown: a line for every choice and number of measurements that has results; empty without any."""
    lines = ["| problem | chosen by | measurements | median error | smallest – largest | CPU seconds | seeds |",
             "|---|---|---|---|---|---|---|"]
    for row in ROWS:
        found = row.results(device, out)
        if found:
            errors = [f["error"] for f in found]
            lines.append(f"| {row.problem.replace('_', ' ')} | {row.label} | {row.method.rsplit('-', 1)[1]} | "
                         f"**{median(errors):.1%}** | {min(errors):.1%} – {max(errors):.1%} | "
                         f"{median(f['cpu'] for f in found):.0f} | {len(found)} |")
    return "\n".join(lines) if len(lines) > 2 else ""
