"""Regression of one number per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from sfgsearch._registry import task_types
from sfgsearch.errors import DataError
from sfgsearch.nn import Head
from sfgsearch.tasks._dense import dense_head
from sfgsearch.tasks._regression import Regression

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@task_types.register("dense_regression")
@dataclass(frozen=True)
class DenseRegression(Regression):
    r"""A real number for every voxel; targets and predictions are float of shape (B, \*space), of a scale near 1.

    With the span R of the target and the errors of all voxels seen, the peak signal-to-noise ratio is

    .. math:: \mathrm{PSNR} = 10 \log_{10} \frac{R^2}{\mathrm{mean}_i (\hat y_i - y_i)^2} \ \mathrm{dB}

    Args:
        scale: What a target of 1 stands for, in ``unit``.
        unit: The unit that errors are reported in.
        span: Range of the target, its greatest minus its least possible value, in ``unit``.
        loss: ``"squared"``, half the mean squared error as in :class:`Regression`, or ``"l1"``, the mean absolute
            error.

    Raises:
        DataError: If the scale or span is not positive or the loss unknown.
    """

    span: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.scale > 0 and self.span > 0):
            raise DataError(f"task {self.name!r}: scale and span must be positive, got {self.scale} and {self.span}")

    @property
    def units(self) -> dict[str, str]:
        """The mean absolute error has the target's unit, the peak signal-to-noise ratio is in decibels."""
        return {"mae": self.unit, "psnr": "dB"}

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build a head of 1x1 convolutions; its single channel is dropped."""
        head = dense_head(in_channels, self.outputs, dimensions, self.hidden)
        head.after = nn.Sequential(head.after, nn.Flatten(1, 2))
        return head

    def metrics(self) -> MetricCollection:
        """Return the mean absolute error in ``unit`` and the peak signal-to-noise ratio in dB, over all voxels seen."""
        from sfgsearch.tasks._metrics import MetricCollection, ScaledMeanAbsoluteError, ScaledPeakSignalNoiseRatio

        return MetricCollection(
            {
                "mae": ScaledMeanAbsoluteError(self.scale),
                "psnr": ScaledPeakSignalNoiseRatio(self.scale, self.span),
            }
        )
