"""The interface of tasks, and targets that are missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sfgsearch.nn import Head

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

MISSING = -1
"""The class of a target that is missing; quantities that are missing are NaN."""


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


def dense_head(in_channels: int, outputs: int, dimensions: int, hidden: int = 0) -> Head:
    """Build a head that reads every voxel by itself, without pooling.

    Args:
        in_channels: Channels of the task's stream.
        outputs: Numbers per voxel.
        dimensions: Spatial dimensions, 2 or 3.
        hidden: Channels of a hidden 1x1 convolution with batch norm and ReLU; 0 for a single 1x1 convolution.

    Returns:
        A head of predictions (B, outputs, *space), interpolated to the space of the images.
    """
    convolution = _CONVOLUTIONS[dimensions]
    if not hidden:
        return Head(convolution(in_channels, outputs, 1), resize=True)
    after = nn.Sequential(_NORMS[dimensions](hidden), nn.ReLU(), convolution(hidden, outputs, 1))
    return Head(convolution(in_channels, hidden, 1, bias=False), after=after, resize=True)


def is_present(target: Tensor) -> Tensor:
    """Return where targets of any shape are present: quantities not NaN, classes (integers) not :data:`MISSING`."""
    if target.is_floating_point():
        return ~target.isnan()
    if not target.dtype.is_signed:  # bytes have no value for a missing class
        return torch.ones_like(target, dtype=torch.bool)
    return target != MISSING


def select_present(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return predictions and targets where targets are present; as they are if none is missing.

    No gradient reaches a prediction that was left out: it is exactly zero there.

    Args:
        prediction: One number for every target, shape (B, \*space), or several, shape (B, numbers, \*space).
        target: Shape (B, \*space).

    Returns:
        Predictions of shape (present,) or (present, numbers), and targets of shape (present,).
    """
    present = is_present(target)
    if bool(present.all()):
        return prediction, target
    if prediction.ndim > target.ndim:
        prediction = prediction.movedim(1, -1)
    return prediction[present], target[present]
