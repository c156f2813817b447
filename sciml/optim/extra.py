"""First-order optimizers of the optional package pytorch_optimizer, by name.

The package takes seconds to import, so its names are written down here and it is imported when one is asked for. Left
out are: Fromage and Nero, whose licence is CC BY-NC; wrappers of other optimizers; those whose step needs more than
gradients (a closure, a second backward pass, the model, process groups); SaRA and LoRARite, which leave ordinary
parameters where they are; and names that torch or this package has itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ProblemError

# Newton–Schulz steps in bfloat16 on matrices, AdamW on everything else
MUONS = ("AdaGO", "AdaMuon", "NorMuon")
NAMES = (
    "A2Grad", "ADOPT", "APOLLO", "AccSGD", "AdEMAMix", "AdaBelief", "AdaBound", "AdaGC", "AdaMod", "AdaNorm", "AdaPNM",
    "AdaShift", "AdaSmooth", "AdaTAM", "Adai", "Adalite", "AdamC", "AdamG", "AdamP", "AdamS", "AdamWSN", "Adan",
    "AggMo", "Aida", "Alice", "Amos", "Ano", "ApolloDQN", "AvaGrad", "BCOS", "CAME", "Conda", "DAdaptAdaGrad",
    "DAdaptAdam", "DAdaptAdan", "DAdaptLion", "DAdaptSGD", "DASH", "DiffGrad", "DualAdam", "EXAdam", "EmoFact",
    "EmoLynx", "EmoNavi", "FAdam", "FOCUS", "FTRL", "Fira", "GaLore", "Grams", "Gravity", "GrokFastAdamW", "Kate",
    "Kron", "LARS", "LaProp", "Lamb", "Lion", "MADGRAD", "MARS", "MSVAG", "NovoGrad", "PAdam", "PID", "PNM", "Prodigy",
    "QHAdam", "QHM", "RACS", "ROSE", "Ranger", "SCION", "SGDP", "SGDSaI", "SGDW", "SM3", "SPAM", "SPlus", "SRMM",
    "SWATS", "ScalableShampoo", "Shampoo", "SignSGD", "SimplifiedAdEMAMix", "StableAdamW", "StableSPAM", "TAM", "Tiger",
    "VSGD", "Yogi", *MUONS,
)
EXTRA = {name.lower(): name for name in NAMES}


def extra_class(key: str) -> type[torch.optim.Optimizer]:
    """The class of a name in `EXTRA`.

    Raises:
        ProblemError: The package is not installed, or its version does not have it.
    """
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise ProblemError(f"optimizer {key} comes from the package pytorch_optimizer, which is not installed; "
                           "pip install 'sciml[optimizers]', or use adam or soap") from error
    found = getattr(pytorch_optimizer, EXTRA[key], None)
    if found is None:
        raise ProblemError(f"this version of pytorch_optimizer has no {EXTRA[key]}; install 4.1 or a later one")
    return found


def groups_for(key: str, params: Sequence[Tensor]) -> list:
    """What its constructor takes: the parameters, or for Muon's kin matrices and all others as two groups."""
    if EXTRA[key] not in MUONS:
        return list(params)
    groups = [{"params": [p for p in params if (p.ndim == 2) == matrices], "use_muon": matrices}
              for matrices in (True, False)]
    return [g for g in groups if g["params"]]


def rehearse(key: str, cls: type[torch.optim.Optimizer], params: Sequence[Tensor], settings: Mapping[str, Any]) -> None:
    """Takes one step on copies of the parameters, with made-up gradients.

    Raises:
        ProblemError: The method does not take parameters of these shapes or this dtype.
    """
    copies = [p.detach().clone().requires_grad_() for p in params]
    for p in copies:
        p.grad = torch.linspace(0.5, 1, p.numel(), dtype=p.dtype, device=p.device).reshape(p.shape)
    try:
        cls(groups_for(key, copies), **settings).step()
    except Exception as error:                               # a package of others may raise anything
        text = [*str(error).strip().splitlines(), type(error).__name__][0]
        shapes = ", ".join(sorted({str(tuple(p.shape)) for p in params}))
        raise ProblemError(f"{key} of pytorch_optimizer does not take parameters of shapes {shapes} in "
                           f"{str(params[0].dtype).removeprefix('torch.')}: {text}; "
                           "use adam or soap") from error
