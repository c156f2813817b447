"""Preconditioned parameters: Fourier coefficients scaled by the inverse of the equation's symbol.

    u = Σ_k θ_k φ_k,   θ = P θ̂,   P_k = 1/|D̂(κ_k)|,   D̂(κ) = Σ_α c_α (iκ)^α;      P_k = γ where D̂(κ_k) = 0

Then JᵀJ, diag |D̂|² + conditions, becomes P JᵀJ P, which is 1 but for the conditions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ProblemError
from ..fields import FieldOptions
from ..fields.fourier import FourierSeries
from ..problem import Problem
from ..problem.hard import Ansatz
from .preconditioner import inside


def symbol(problem: Problem, waves: Tensor) -> Tensor:
    """|D̂(κ)| of the equation, shape (M,).

    Args:
        problem: With one unknown and one linear equation with constant coefficients.
        waves: κ, shape (M, D).

    Raises:
        ProblemError: The problem is another one.
    """
    blocks = inside(problem, list(problem.blocks))
    if len(problem.unknowns) != 1 or len(blocks) != 1 or len(blocks[0].components) != 1:
        raise ProblemError("model.scale=inverse-symbol needs one equation of one unknown, and this problem has "
                           f"{sum(len(b.components) for b in blocks)} of {len(problem.unknowns)}; leave it out")
    program = blocks[0].program
    N, generator = 16, torch.Generator().manual_seed(0)
    points = problem.region.sample(N, generator=generator)
    leaves, inputs = {}, {}
    for key in program.leaves:
        if key[0] == "coordinate":
            leaves[key] = points.column(key[1])
        elif key[0] == "unknown":
            inputs[key] = torch.randn(N, generator=generator, dtype=torch.float64).requires_grad_()
        else:
            raise ProblemError(f"model.scale=inverse-symbol needs constant coefficients, and {blocks[0].name!r} "
                               f"depends on the unknown {key[0]} {key[1]!r}; leave it out")
    with torch.enable_grad():
        (f,) = program({**leaves, **inputs}, points.X[:, 0])
        slopes = torch.autograd.grad(f.sum(), list(inputs.values()), allow_unused=True)
    total = torch.zeros(len(waves), dtype=torch.complex128)
    for (_, _, alpha), c in zip(inputs, slopes, strict=True):
        if c is None:
            continue
        if not torch.allclose(c, c[:1].expand(N), rtol=1e-12, atol=1e-14):
            raise ProblemError("model.scale=inverse-symbol needs a linear equation with constant coefficients, and "
                               f"those of {blocks[0].name!r} change with the point or the unknown; leave it out")
        term = c[0].to(torch.complex128)
        for d, order in enumerate(alpha):
            term = term * (1j * waves[:, d].double()) ** order
        total = total + term
    return total.abs()


def precondition_parameters(network: nn.Module, problem: Problem, model: str, options: FieldOptions,
                            ansatz: Ansatz) -> None:
    """Scales the coefficients of a Fourier series as `model.scale` says.

    Raises:
        ProblemError: The field is no Fourier series, data are built into it, or the equation has no symbol.

    Source: De Ryck, Bonnet, Mishra, de Bézenac (2024), arXiv:2310.05801.
    """
    if options.scale == "none":
        return
    if not isinstance(network, FourierSeries):
        raise ProblemError(f"model.scale={options.scale} is for model=fourier, whose parameters belong to waves, and "
                           f"this is model={model}; leave it out, or take precondition=h-minus-1 or lu")
    if not ansatz.trivial:
        raise ProblemError(f"model.scale={options.scale} needs a field that is the Fourier series itself, and "
                           "conditions are built in as a factor here; set constraints=soft")
    size = symbol(problem, network.wave_vectors())
    null = size <= 1e-10 * size.max()
    network.rescale(torch.where(null, options.gamma, 1 / torch.where(null, 1.0, size)))
