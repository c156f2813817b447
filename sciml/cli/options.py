"""Arguments that several commands share, and their values from text."""

from __future__ import annotations

import argparse
import ast
import os
import re
from math import e, pi

from ..errors import ProblemError
from ..learning import OperatorRecipe
from ..objective import Recipe
from ..optim import is_second_order

FLAGS = {
    "model": (str, "architecture, e.g. mlp, piratenet"),
    "optimizer": (str, "auto, or e.g. gauss-newton, ssbroyden, adam:2000,gauss-newton"),
    "sampler": (str, "collocation sampler, e.g. uniform, sobol, rad"),
    "constraints": (str, "hard, soft or auto: initial and boundary data built into the field or not"),
    "points": (int, "interior collocation points"),
    "steps": (int, "budget in optimizer steps"),
    "time": (float, "budget in seconds of training steps; imports, reports, checkpoints and figures come on top"),
    "batch": (int, "points per first-order step"),
    "device": (str, "cpu, cuda, cuda:1"),
    "dtype": (str, "float64 or float32"),
    "seed": (int, "seed of everything random"),
    "balance": (str, "weights and gradient surgery, e.g. grad-norm, causal+config; fixed: those of the problem file"),
    "refine": (str, "what the field gets more of between solves: splat or metric for model=gaussian, or none"),
    "diagnose": (float, "seconds between diagnostics in metrics.jsonl: agreement of gradients, kernel traces, "
                        "effective dimension"),
    "loss": (str, "of an operator: data, residual or both"),
    "epochs": (int, "budget of an operator in passes over its training functions"),
    "augment": (str, "of an operator: symmetry, covariance or none"),
    "precondition": (str, "preconditioner of the loss, e.g. h-minus-1, lu, pseudo-time"),
}


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `Recipe` as flags, plus --set."""
    for name, (kind, text) in FLAGS.items():
        parser.add_argument(f"--{name}", type=kind, help=text, metavar=name.upper())
    parser.add_argument("--compile", action="store_const", const=True, help="compile the field's pass (torch.compile)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="constants of the problem (nu=0.02) and dotted options (model.width=64)")


def recipe_options(arguments: argparse.Namespace) -> dict[str, object]:
    """What the user gave, by option name."""
    return {n: getattr(arguments, n) for n in [*FLAGS, "compile"] if getattr(arguments, n) is not None}


def settings(entries: list[str]) -> dict[str, object]:
    """{"nu": 0.02, "model.width": 64} from ["nu=0.02", "model.width=64"].

    Raises:
        ProblemError: An entry has no "=".
    """
    found = {}
    for entry in entries:
        key, sign, text = entry.partition("=")
        if not sign or not key:
            raise ProblemError(f"--set {entry}: write KEY=VALUE, for example nu=0.02 or model.width=64; PROBLEM comes "
                               "before --set")
        found[key.strip()] = value_of(text)
    return found


def value_of(text: str):
    """A Python number (formulas such as 0.01/pi included), boolean or None from text, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    if not re.fullmatch(r"([0-9.+\-*/() ]|pi|e)+", text) or "**" in text:
        return text
    try:
        formula = compile(ast.parse(text, mode="eval"), "--set", "eval")
        return float(eval(formula, {"__builtins__": {}}, {"pi": pi, "e": e}))
    except (SyntaxError, TypeError, ZeroDivisionError, OverflowError):
        return text


def one_process() -> None:
    """Refuses a run by several processes, which would write into one folder.

    Raises:
        ProblemError: torchrun started more than one.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise ProblemError(f"{os.environ['WORLD_SIZE']} processes were started (WORLD_SIZE), but this version trains "
                           "on one device; start it without torchrun, or with --nproc-per-node=1")


def recipe_notes(recipe: Recipe | OperatorRecipe) -> list[str]:
    """What is allowed but costs accuracy."""
    if isinstance(recipe, OperatorRecipe):
        return []
    second = [s.optimizer for s in recipe.stages() if is_second_order(s.optimizer)]
    if recipe.dtype == "float32" and second:
        return [f"{second[0]} in float32 ends at relative errors of about 1e-3: its steps need differences that "
                "float32 rounds away; use --dtype float64 where accuracy counts"]
    return []
