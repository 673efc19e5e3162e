"""Results of a training: of its epochs, and of the whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from torch import nn

from sfgsearch.methods import System
from sfgsearch.nn import Complexity
from sfgsearch.tasks import Task
from sfgsearch.training._evaluate import Metrics


@dataclass(frozen=True)
class EpochReport:
    """The results of an epoch of training.

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
    """The losses of an epoch.

    Args:
        objective: Mean objective, in nats per image.
        tasks: Mean negative log likelihood by task, in nats per image.
        weights: Factor of every task's loss at the end of the epoch.
    """

    objective: float
    tasks: dict[str, float]
    weights: dict[str, float]


@dataclass(frozen=True)
class MonteCarlo:
    """The results of Monte-Carlo prediction with a trained network.

    Args:
        samples: S, the sampled masks.
        metrics: Metrics by split, then by ``"<task>/<metric>"``; ``"<task>/uncertainty"`` is the mean over images of
            :meth:`sfgsearch.tasks.Task.uncertainty`.
        scores: Mean relative error over tasks, by split.
        parameters: Trainable numbers of the masked network, which all samples share.
        macs: Multiply-adds for one image, of all samples.
    """

    samples: int
    metrics: dict[str, Metrics]
    scores: dict[str, float]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Trained:
    """The results of a training.

    Args:
        tasks: The tasks.
        system: The trained system.
        predictor: The network that predicts, in evaluation mode.
        seed: The seed that it all came from.
        metrics: Metrics of the predictor by split, then by ``"<task>/<metric>"``.
        scores: Mean relative error over tasks, by split.
        history: One report per epoch.
        seconds: Wall-clock time of training and evaluation; of an interrupted training, that up to the checkpoints
            that it went on from included.
        monte_carlo: Monte-Carlo prediction, for methods that predict with another network than that.
    """

    tasks: tuple[Task, ...]
    system: System
    predictor: nn.Module
    seed: int
    metrics: dict[str, Metrics]
    scores: dict[str, float]
    history: list[EpochReport]
    seconds: float
    monte_carlo: MonteCarlo | None = None

    @cached_property
    def complexity(self) -> Complexity:
        """Size and cost of the network that predicts, counted when it is first asked for."""
        return self.system.complexity()
