"""Preconditioned parameters, measured: κ(JᵀJ) of Fourier series for Poisson's and the advection equation.

    −u″ = f on (−π, π), u(±π) = 0, modes |k| ≤ K;      u_t + β u_x = 0 on (0, 2π)², modes |k|, |m| ≤ 8

Every matrix is made of the rows that training sees (`Objective.linearize`), none of a formula. λ is the weight of the
boundary, against the integral of the squared residual; P = 1/|symbol|, γ for modes that the equation does not see, and
λ = 2π/γ².

Source: De Ryck, Bonnet, Mishra, de Bézenac (2024), arXiv:2310.05801.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log, pi

import torch
from torch import Tensor

from ..errors import ProblemError
from ..geometry import Box
from ..objective import block_jacobians, make_recipe
from ..problem import Dirichlet, Equation, Initial, Problem
from ..training import Training

SIZES = (4, 8, 16, 32, 64, 128)
GAMMAS = (0.1, 0.3, 1.0, 3.0)
SPEEDS = (1.0, 10.0, 30.0, 50.0)


def series(problem: Problem, points: int, **model) -> Training:
    """A Fourier series at its start, on a regular grid."""
    return Training(problem, make_recipe({}, {
        "model": {"name": "fourier", **model}, "constraints": "soft", "sampler": "grid", "points": points,
        "optimizer": "sgd", "schedule": "constant", "steps": 1}))


def poisson(K: int, **model) -> Training:
    """Poisson's equation with modes up to K; all weights such that L = ∫ r² + u(π)²."""
    problem = Problem(domain=Box(x=(-pi, pi)), unknowns="u", conditions=[
        Equation(lambda u, x: -u.xx - torch.sin(x) - 4 * torch.sin(2 * x), name="equation", weight=2 * pi),
        Dirichlet(u=0.0, on="x+", name="boundary")])
    return series(problem, 2 * K + 2, harmonics=K, **model)


def advection(beta: float, K: int = 8, **model) -> Training:
    """Advection with modes up to K in x and t; L = ∫ r² + ∫ (u − sin x)² at t = 0."""
    problem = Problem(domain=Box(x=(0, 2 * pi), t=(0, 2 * pi)), unknowns="u", conditions=[
        Equation(lambda u: u.t + beta * u.x, name="equation", weight=4 * pi**2),
        Initial(u=lambda x: torch.sin(x), name="initial", weight=2 * pi, points=2 * K + 2)])
    return series(problem, (2 * K + 2) ** 2, harmonics=K, **model)


def grams(training: Training) -> dict[str, Tensor]:
    """J_bᵀ J_b of every condition."""
    return {n: J.T @ J for n, J in block_jacobians(training.objective).items()}


def kappa(A: Tensor) -> float:
    """Condition number of a symmetric positive definite matrix."""
    values = torch.linalg.eigvalsh(A)
    return float(values[-1] / values[0])


def steps_of(condition: float, accuracy: float = 1e-6) -> int:
    """Steps of gradient descent with the best fixed rate until the worst mode's error fell to `accuracy`."""
    return ceil(log(accuracy) / log((condition - 1) / (condition + 1)))


def descend(training: Training, weights: dict[str, float], limit: int = 100_000, accuracy: float = 1e-6) -> int:
    """Steps of gradient descent at the rate 1/(λ₁ + λ_P) until |θ − θ*| ≤ accuracy |θ₀ − θ*|, taken, not computed.

    Raises:
        ProblemError: `limit` steps are not enough.
    """
    objective = training.objective
    objective.weights.update(weights)
    r, J = objective.linearize()
    values = torch.linalg.eigvalsh(J.T @ J)
    change = torch.linalg.solve(J.T @ J, J.T @ r)
    (theta,) = objective.trainable
    goal = theta.detach().reshape(-1) - change
    for step in range(1, limit + 1):
        theta.grad = None
        objective.backward()
        assert theta.grad is not None
        with torch.no_grad():
            theta -= theta.grad / (values[0] + values[-1])
        if float((theta.detach().reshape(-1) - goal).norm()) <= accuracy * float(change.norm()):
            return step
    raise ProblemError(f"gradient descent took more than {limit} steps; κ is {float(values[-1] / values[0]):.1e}")


def poisson_row(K: int, gammas: Sequence[float] = GAMMAS) -> dict:
    """κ(A) at the best of 121 weights λ from 10⁻² to 10⁸, and κ(PAP) for each γ."""
    plain = grams(poisson(K))
    weights = torch.logspace(-2, 8, 121, dtype=torch.float64)
    best, weight = min((kappa(plain["equation"] + w * plain["boundary"]), float(w)) for w in weights)
    scaled = {}
    for gamma in gammas:
        A = grams(poisson(K, scale="inverse-symbol", gamma=gamma))
        scaled[gamma] = kappa(A["equation"] + 2 * pi / gamma**2 * A["boundary"])
    return {"K": K, "plain": best, "weight": weight, "scaled": scaled, "plain steps": steps_of(best)}


def advection_row(beta: float) -> dict:
    """Spread of the non-zero spectrum of the equation, number of null modes, and κ(PAP) with the initial condition."""
    values = torch.linalg.eigvalsh(grams(advection(beta))["equation"])
    null = values < 1e-9 * values[-1]
    A = grams(advection(beta, scale="inverse-symbol", gamma=1.0))
    return {"beta": beta, "plain": float(values[-1] / values[~null][0]), "null": int(null.sum()),
            "scaled": kappa(A["equation"] + A["initial"])}


def measure() -> dict:
    """All rows."""
    steps = {gamma: descend(poisson(32, scale="inverse-symbol", gamma=gamma), {"boundary": 2 * pi / gamma**2})
             for gamma in (3.0, 10.0)}
    return {"poisson": [poisson_row(K) for K in SIZES], "advection": [advection_row(beta) for beta in SPEEDS],
            "steps": steps}


def markdown(found: dict) -> str:
    """Both tables."""
    gammas = list(found["poisson"][0]["scaled"])
    lines = ["| Poisson, K | κ(JᵀJ), best λ | λ | " + " | ".join(f"κ scaled, γ = {g}" for g in gammas) +
             " | descent to 1e-6, plain |", "|---" * (4 + len(gammas)) + "|"]
    lines += [f"| {r['K']} | {r['plain']:.3e} | {r['weight']:.1e} | " +
              " | ".join(f"{v:.5g}" for v in r["scaled"].values()) + f" | {r['plain steps']:,} steps |"
              for r in found["poisson"]]
    lines += ["", "Scaled, K = 32, gradient descent takes " +
              ", ".join(f"{n} steps (γ = {float(g):g})" for g, n in found["steps"].items()) + " to 1e-6.", ""]
    lines += ["| advection, β | spread of the spectrum | null modes | κ scaled, γ = 1, with the initial condition |",
              "|---|---|---|---|"]
    lines += [f"| {r['beta']:g} | {r['plain']:.3e} | {r['null']} | {r['scaled']:.3g} |" for r in found["advection"]]
    return "\n".join(lines)
