"""The interface of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from sfgsearch.nn import Head

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@dataclass(frozen=True)
class Task(ABC):
    """One thing to predict from an image.

    Args:
        name: The task's name in targets, metrics and allocations.
        weight: Weight of the task's loss in training, not in the comparison.
        hidden: Width of a hidden layer in the head, with batch norm and ReLU; 0 for a linear head.
    """

    name: str
    weight: float = 1.0
    hidden: int = 0

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that the head returns for one image."""

    @property
    @abstractmethod
    def units(self) -> dict[str, str]:
        """The unit of every metric, by metric name; :data:`FRACTION` for shares, empty for plain numbers."""

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics that a comparison shows; all of them unless a task has many."""
        return tuple(self.units)

    @property
    def residual_power(self) -> int | None:
        """The power of residuals in a likelihood whose noise can be fitted: 2 if Gaussian, 1 if Laplace; else None.

        The loss is then the mean of that power over residuals, divided by it.
        """
        return None

    def check_target(self, target: Tensor) -> None:
        """Check all targets of a split, missing ones included.

        Raises:
            DataError: If the task cannot take one of them.
        """

    @abstractmethod
    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean negative log likelihood over the batch, up to a constant; a scalar in nats.

        Targets that are missing were left out before, see :func:`sfgsearch.tasks.select_present`, and so are they in
        metrics: what is left of a dense task has the shapes (present,) and (present, numbers).
        """

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Return fresh metrics; updated with the head's output and the target of batches."""

    @abstractmethod
    def error(self, metrics: dict[str, float]) -> float:
        """Return the error, at least 0 and the lower the better, from the task's metrics."""

    @abstractmethod
    def trivial_error(self, train_target: Tensor, target: Tensor) -> float:
        """Return the error on ``target`` of the best constant prediction that ``train_target`` allows."""

    @abstractmethod
    def average(self, predictions: Tensor) -> Tensor:
        """Average the predictive distributions of S predictions, shape (S, B, ...), into one (B, ...)."""

    @abstractmethod
    def uncertainty(self, predictions: Tensor) -> Tensor:
        """Return how far S sampled predictions, shape (S, B, ...), disagree; at least 0, shape (B, ...)."""

    @property
    @abstractmethod
    def uncertainty_unit(self) -> str:
        """The unit of :meth:`uncertainty`."""

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build global average pooling and a linear head, or one with a hidden layer.

        Args:
            in_channels: Channels of the task's stream.
            dimensions: Its spatial dimensions.
        """
        del dimensions  # pooling flattens whatever space there is
        if not self.hidden:
            return Head(nn.Linear(in_channels, self.outputs), before=GlobalAveragePool())
        after = nn.Sequential(nn.BatchNorm1d(self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.outputs))
        return Head(nn.Linear(in_channels, self.hidden, bias=False), before=GlobalAveragePool(), after=after)


class GlobalAveragePool(nn.Module):
    """Average over space: (B, C, *space) to (B, C)."""

    def forward(self, stream: Tensor) -> Tensor:
        """Return the channel means."""
        return stream.flatten(2).mean(2)
