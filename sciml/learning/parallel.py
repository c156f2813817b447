"""Several processes, one operator: each takes a part of every batch, and gradients are summed (data parallel).

    torchrun --nproc-per-node=N -m sciml solve darcy

The gradient is that of the whole batch, Σ_r (B_r/B) ∇L_r, whatever the number of processes: random numbers are the same
in all of them. Every process makes the samples for itself; the first alone reports and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from ..errors import ProblemError


def rank() -> int:
    """Number of this process, 0 where there is one."""
    return int(os.environ.get("RANK") or 0)


def processes() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def join(device: str) -> torch.device:
    """Joins the other processes; returns the device of this one.

    Args:
        device: The recipe's; "cuda" becomes the card of the process.

    Raises:
        ProblemError: There are more processes than CUDA devices.
    """
    if processes() == 1:
        return torch.device(device)
    found = torch.device(device)
    if found.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK") or 0)
        if local >= torch.cuda.device_count():
            raise ProblemError(f"{processes()} processes were started, and this machine has "
                               f"{torch.cuda.device_count()} CUDA devices; start one for each")
        found = torch.device("cuda", local)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return found


def own(index: Tensor) -> Tensor:
    """This process's part of a batch; some may be empty."""
    return index[rank()::processes()]


def summed(parameters: Iterable[Tensor], share: float, loss: Tensor) -> Tensor:
    """Puts Σ_r share_r ∇L_r in the place of every gradient; returns Σ_r share_r L_r.

    Args:
        parameters: What is trained.
        share: B_r/B of this process.
        loss: L_r, whose gradients are in place.
    """
    held = list(parameters)
    flat = [torch.zeros_like(p) if p.grad is None else share * p.grad for p in held]
    sent = torch.cat([(share * loss.detach()).reshape(1).to(held[0].dtype), *(g.reshape(-1) for g in flat)])
    distributed.all_reduce(sent)
    start = 1
    for p in held:
        p.grad = sent[start:start + p.numel()].view_as(p).clone()
        start += p.numel()
    return sent[0]


def agreed(value: bool, device: torch.device) -> bool:
    """What the first process says, in all of them."""
    if processes() == 1:
        return value
    sent = torch.tensor([float(value)], device=device)
    distributed.broadcast(sent, 0)
    return bool(sent.item())
