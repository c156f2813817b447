"""Reports: what a run says of itself now and then."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Report:
    """Where a run stands.

    Args:
        step: Steps done.
        seconds: Seconds of training.
        stage: Name of the optimizer.
        loss: L; of an operator its mean over the last epoch.
        losses: Unweighted mean square by condition; of an operator the loss by kind.
        errors: Relative L2 by unknown, where there is a reference; of an operator the mean over test functions.
        parameters: Unknown parameters.
        extras: Damping, learning rate, weights, epoch.
    """

    step: int
    seconds: float
    stage: str
    loss: float
    losses: dict[str, float]
    errors: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, float] = field(default_factory=dict)
    extras: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """A line of metrics.jsonl."""
        plain = asdict(self)
        return {**{k: v for k, v in plain.items() if k != "extras"}, **self.extras}
