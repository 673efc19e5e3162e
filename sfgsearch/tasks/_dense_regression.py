"""Regression of one number per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

from sfgsearch.errors import DataError
from sfgsearch.nn import Head
from sfgsearch.tasks._dense import dense_head
from sfgsearch.tasks._registry import task_types
from sfgsearch.tasks._regression import ScaledMeanAbsoluteError
from sfgsearch.tasks._task import Task


class _ScaledPeakSignalNoiseRatio(PeakSignalNoiseRatio):
    """Peak signal-to-noise ratio of predictions in the scale of training."""

    def __init__(self, scale: float, span: float) -> None:
        super().__init__(data_range=span)
        self.scale = scale

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds * self.scale, target * self.scale)


@task_types.register("dense_regression")
@dataclass(frozen=True)
class DenseRegression(Task):
    r"""A real number for every voxel; targets and predictions are float of shape (B, \*space), of a scale near 1.

    With the span R of the target and the errors of all voxels seen, the peak signal-to-noise ratio is

    .. math:: \mathrm{PSNR} = 10 \log_{10} \frac{R^2}{\mathrm{mean}_i (\hat y_i - y_i)^2} \ \mathrm{dB}

    Args:
        scale: What a target of 1 stands for, in ``unit``.
        unit: The unit that errors are reported in.
        span: Range of the target, its greatest minus its least possible value, in ``unit``.
        loss: ``"squared"``, half the mean squared error as in :class:`Regression`, or ``"l1"``, the mean absolute
            error: a Laplace likelihood of unit scale.

    Raises:
        DataError: If the scale or span is not positive or the loss unknown.
    """

    scale: float = 1.0
    unit: str = ""
    span: float = 1.0
    loss: Literal["squared", "l1"] = "squared"

    def __post_init__(self) -> None:
        if not (self.scale > 0 and self.span > 0):
            raise DataError(f"task {self.name!r}: scale and span must be positive, got {self.scale} and {self.span}")
        if self.loss not in ("squared", "l1"):
            raise DataError(f"task {self.name!r}: loss must be 'squared' or 'l1', got {self.loss!r}")

    @property
    def outputs(self) -> int:
        """One number per voxel."""
        return 1

    @property
    def units(self) -> dict[str, str]:
        """The mean absolute error has the target's unit, the peak signal-to-noise ratio is in decibels."""
        return {"mae": self.unit, "psnr": "dB"}

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build a head of 1x1 convolutions; its single channel is dropped."""
        head = dense_head(in_channels, self.outputs, dimensions, self.hidden)
        head.after = nn.Sequential(head.after, nn.Flatten(1, 2))
        return head

    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return half the mean squared error or the mean absolute error, over all voxels of the batch."""
        if self.loss == "l1":
            return functional.l1_loss(prediction, target)
        return 0.5 * (prediction - target).square().mean()

    def metrics(self) -> MetricCollection:
        """Return the mean absolute error in ``unit`` and the peak signal-to-noise ratio in dB, over all voxels seen."""
        return MetricCollection(
            {
                "mae": ScaledMeanAbsoluteError(self.scale),
                "psnr": _ScaledPeakSignalNoiseRatio(self.scale, self.span),
            }
        )

    def error(self, metrics: dict[str, float]) -> float:
        """Return the mean absolute error."""
        return metrics["mae"]

    def trivial_error(self, train_target: Tensor, target: Tensor) -> float:
        """Return the mean absolute error of answering the median of the training voxels everywhere.

        Args:
            train_target: Targets of any shape; so are those below.
            target: What is predicted.
        """
        return float((target - train_target.median()).abs().double().mean()) * self.scale

    def average(self, predictions: Tensor) -> Tensor:
        """Return the mean."""
        return predictions.mean(0)

    def uncertainty(self, predictions: Tensor) -> Tensor:
        """Return the standard deviation over samples for every voxel, in ``unit``."""
        return predictions.std(0, correction=0) * self.scale

    @property
    def uncertainty_unit(self) -> str:
        """The unit of the target."""
        return self.unit
