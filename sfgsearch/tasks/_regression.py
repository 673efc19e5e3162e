"""Regression of one number per image, or per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.nn import functional

from sfgsearch._registry import task_types
from sfgsearch.errors import DataError
from sfgsearch.nn import Head
from sfgsearch.tasks._task import Task, dense_head

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@task_types.register("regression")
@dataclass(frozen=True)
class Regression(Task):
    """One real number; targets and predictions are float of shape (B,), scaled to about [-1, 1].

    Args:
        scale: The value, in ``unit``, of a target of 1.
        unit: The unit that errors are reported in.
        loss: ``"squared"``, half the mean squared error: a Gaussian likelihood; or ``"l1"``, the mean absolute error:
            a Laplace likelihood. Their noise is one, unless the training fits it.

    Raises:
        DataError: If the loss is unknown.
    """

    scale: float = 1.0
    unit: str = ""
    loss: Literal["squared", "l1"] = "squared"

    def __post_init__(self) -> None:
        if self.loss not in ("squared", "l1"):
            raise DataError(f"task {self.name!r}: loss must be 'squared' or 'l1', got {self.loss!r}")
        if not self.unit.isprintable():
            raise DataError(
                f"task {self.name!r}: the unit {self.unit!r} has characters that cannot be printed; correct it"
            )

    @property
    def outputs(self) -> int:
        """One number."""
        return 1

    @property
    def units(self) -> dict[str, str]:
        """The mean absolute error has the target's unit."""
        return {"mae": self.unit}

    @property
    def residual_power(self) -> int:
        """2 for the squared loss, 1 for the absolute one."""
        return 2 if self.loss == "squared" else 1

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build the common head, its single output flattened to shape (B,)."""
        head = super().head(in_channels, dimensions)
        head.after = nn.Sequential(head.after, nn.Flatten(0))
        return head

    def check_target(self, target: Tensor) -> None:
        """Check that targets are floating point, and finite or, where they are missing, NaN."""
        if not target.is_floating_point():
            raise DataError(f"targets are {target.dtype}; a quantity is floating point, NaN where it is missing")
        if target.isinf().any():
            raise DataError("a target is infinite; correct it, or set it to NaN if it is missing")

    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return half the mean squared error or the mean absolute error over all numbers of the batch."""
        if self.loss == "l1":
            return functional.l1_loss(prediction, target)
        return 0.5 * (prediction - target).square().mean()

    def metrics(self) -> MetricCollection:
        """Return the mean absolute error, in ``unit``."""
        from sfgsearch.tasks._metrics import MetricCollection, ScaledMeanAbsoluteError

        return MetricCollection({"mae": ScaledMeanAbsoluteError(self.scale)})

    def error(self, metrics: dict[str, float]) -> float:
        """Return the mean absolute error."""
        return metrics["mae"]

    def trivial_error(self, train_target: Tensor, target: Tensor) -> float:
        """Return the mean absolute error of always answering the median of the training data, of any shape."""
        return float((target - train_target.median()).abs().double().mean()) * self.scale

    def average(self, predictions: Tensor) -> Tensor:
        """Return the mean."""
        return predictions.mean(0)

    def uncertainty(self, predictions: Tensor) -> Tensor:
        """Return the standard deviation over samples, in ``unit``."""
        return predictions.std(0, correction=0) * self.scale

    @property
    def uncertainty_unit(self) -> str:
        """The unit of the target."""
        return self.unit


@task_types.register("dense_regression")
@dataclass(frozen=True)
class DenseRegression(Regression):
    r"""A real number for every voxel; targets and predictions are float of shape (B, \*space), of a scale near 1.

    With the span R of the target and the errors of all voxels seen, the peak signal-to-noise ratio is

    .. math:: \mathrm{PSNR} = 10 \log_{10} \frac{R^2}{\mathrm{mean}_i (\hat y_i - y_i)^2} \ \mathrm{dB}

    Args:
        scale: The value, in ``unit``, of a target of 1.
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
