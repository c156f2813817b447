"""Which of a user's samples train an operator, and which test it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ProblemError
from ..samples import Samples


def split(samples: Samples, train, test) -> tuple[Tensor, Tensor]:
    """Indices of training and test samples, which must not overlap.

    Args:
        samples: All of them.
        train, test: Numbers (the first, the last), lists of indices or names of splits; "": what the other leaves, or
            the samples' own splits, or the first 80 % and the rest.

    Raises:
        ProblemError: They overlap, or there are not so many.
    """
    B = len(samples)
    every = torch.arange(B)
    if train == "" and test == "":
        if {"train", "test"} <= set(samples.splits):
            return samples.indices("train"), samples.indices("test")
        return every[:int(0.8 * B)], every[int(0.8 * B):]
    found = []
    for part, ends in ((train, "first"), (test, "last")):
        if isinstance(part, int) and not isinstance(part, bool):
            if not 0 < part <= B:
                raise ProblemError(f"{part} samples were asked for, and there are {B}")
            found.append(every[:part] if ends == "first" else every[B - part:])
        elif isinstance(part, str) and part == "":
            found.append(every[:0])
        else:
            found.append(samples.indices(part))
    one, other = found
    if not len(one):
        one = every[~torch.isin(every, other)]
    if not len(other):
        other = every[~torch.isin(every, one)]
    both = one[torch.isin(one, other)]
    if len(both) or not len(other):
        raise ProblemError(f"{len(both)} samples are both in train and in test, or there is none to test on; give "
                           "splits that do not overlap")
    return one, other
