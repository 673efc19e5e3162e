"""What an epoch of training came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EpochReport:
    """What an epoch of training came to.

    Args:
        epoch: From zero.
        loss: Mean objective over the epoch's steps, in nats per image.
        task_losses: Mean negative log likelihood by task, in nats per image.
        metrics: Validation metrics by ``"<task>/<metric>"``.
        score: Mean relative error over tasks on the validation split; lower is better.
        mean_probs: For methods with group probabilities, their mean over filters by layer.
        mean_entropy: Likewise the mean entropy in nats.
        task_weights: Factor of every task's loss, which training may learn.
    """

    epoch: int
    loss: float
    task_losses: dict[str, float]
    metrics: dict[str, float]
    score: float
    mean_probs: dict[str, list[float]]
    mean_entropy: dict[str, float]
    task_weights: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StepLosses:
    """What the trainer knows of an epoch.

    Args:
        objective: Mean objective, in nats per image.
        tasks: Mean negative log likelihood by task, in nats per image.
        weights: Factor of every task's loss at the end of the epoch.
    """

    objective: float
    tasks: dict[str, float]
    weights: dict[str, float]
