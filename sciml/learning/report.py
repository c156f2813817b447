"""What a run of operator learning says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class OperatorReport:
    """Where a run stands.

    Args:
        step: Steps done.
        seconds: Seconds of training.
        stage: Name of the optimizer.
        loss: Mean over the last epoch.
        losses: By kind.
        errors: Mean relative L2 error of test samples, by unknown.
        parameters: None are found; empty.
        extras: The epoch.
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
