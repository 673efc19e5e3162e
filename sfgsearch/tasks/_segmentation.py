"""Segmentation: a class for every voxel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from sfgsearch._choices import FRACTION
from sfgsearch._registry import task_types
from sfgsearch.errors import DataError
from sfgsearch.nn import Head
from sfgsearch.tasks._classes import ClassTask
from sfgsearch.tasks._task import dense_head

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection

_LOSSES = ("cross_entropy", "dice", "both")
_SMOOTHING = 1e-5


def soft_dice_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Return one minus the mean soft Dice of the foreground classes (Milletari et al., 3DV 2016).

    With the probabilities p of all voxels i of the batch and one-hot targets y,

    .. math:: 1 - \frac{1}{C - 1} \sum_{c=1}^{C-1}
        \frac{2 \sum_i p_{ic} y_{ic} + \epsilon}{\sum_i p_{ic}^2 + \sum_i y_{ic} + \epsilon}, \qquad \epsilon = 10^{-5}

    A class that is absent and gets no probability counts as found.

    Args:
        prediction: Logits of shape (B, C, *space), or of some voxels, shape (voxels, C); class 0 is the background.
        target: int64 of shape (B, *space), or (voxels,).
    """
    classes = prediction.shape[1]
    probs = prediction.softmax(1).transpose(0, 1).flatten(1)
    truth = functional.one_hot(target.flatten(), classes).T.to(probs.dtype)
    overlap = 2 * (probs * truth).sum(1) + _SMOOTHING
    total = probs.square().sum(1) + truth.sum(1) + _SMOOTHING
    return 1 - (overlap / total)[1:].mean()


@task_types.register("segmentation")
@dataclass(frozen=True)
class Segmentation(ClassTask):
    r"""One of several classes for every voxel; targets are int64 of shape (B, \*space), predictions logits.

    Predictions have the shape (B, classes, \*space). Class 0 is the background. Over all voxels seen, the Dice of a
    class is :math:`2 TP / (2 TP + FP + FN)`. A class that neither occurs nor is predicted is left out of the
    mean; its own Dice is reported as 1, for nothing was missed or made up.

    Args:
        num_classes: Number of classes, at least 2, background included.
        classes: Their names, background first; indices if empty.
        loss: Cross-entropy, soft Dice of the foreground, or their sum.
        class_weights: Weight of every class in the cross-entropy; all alike if empty.

    Raises:
        DataError: If there are too few classes, names or weights do not fit them, or the loss is unknown.
    """

    loss: Literal["cross_entropy", "dice", "both"] = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self._suffixes)) != self.num_classes or not all(self._suffixes):
            raise DataError(f"task {self.name!r}: class names must differ in letters or digits, got {self.classes}")
        if self.class_weights and self.loss == "dice":
            raise DataError(f"task {self.name!r}: class_weights are of the cross-entropy; set loss to 'both'")
        if self.loss not in _LOSSES:
            raise DataError(f"task {self.name!r}: loss must be one of {', '.join(_LOSSES)}, got {self.loss!r}")

    @property
    def _suffixes(self) -> tuple[str, ...]:
        """The classes' names in metrics."""
        names = self.classes or tuple(map(str, range(self.num_classes)))
        return tuple(re.sub(r"\W+", "_", name.lower()).strip("_") for name in names)

    @property
    def units(self) -> dict[str, str]:
        """All metrics are fractions."""
        return dict.fromkeys(("dice", *(f"dice_{one}" for one in self._suffixes[1:]), "accuracy"), FRACTION)

    @property
    def headline(self) -> tuple[str, ...]:
        """The mean Dice."""
        return ("dice",)

    def head(self, in_channels: int, dimensions: int) -> Head:
        """Build a head of 1x1 convolutions."""
        return dense_head(in_channels, self.outputs, dimensions, self.hidden)

    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy over voxels, the soft Dice loss, or their sum; Dice is no likelihood."""
        losses = []
        if self.loss != "dice":
            losses.append(super().negative_log_likelihood(prediction, target))
        if self.loss != "cross_entropy":
            losses.append(soft_dice_loss(prediction, target))
        return torch.stack(losses).sum()

    def metrics(self) -> MetricCollection:
        """Return the mean Dice over foreground classes, that of each of them, and the share of right voxels."""
        from sfgsearch.tasks._metrics import Dice, MetricCollection, MulticlassAccuracy

        collection: dict[str, Metric | MetricCollection] = {"dice": Dice(self.num_classes)}
        for index, suffix in enumerate(self._suffixes[1:], start=1):
            collection[f"dice_{suffix}"] = Dice(self.num_classes, only=index)
        accuracy: Any = MulticlassAccuracy(self.num_classes, average="micro", validate_args=False)
        # They share one table of counts; torchmetrics would find that out by comparing every pair.
        groups = [list(collection), ["accuracy"]]
        return MetricCollection({**collection, "accuracy": accuracy}, compute_groups=groups)

    def error(self, metrics: dict[str, float]) -> float:
        """Return one minus the mean Dice."""
        return 1 - metrics["dice"]

    def trivial_error(self, train_target: Tensor, target: Tensor) -> float:
        """Return one minus the mean Dice of answering the most frequent foreground class of the training data.

        Among constant answers that is the one with the greatest Dice there: the background's is 0.

        """
        answer = int(train_target.flatten().bincount(minlength=self.num_classes)[1:].argmax()) + 1
        counts = target.flatten().bincount(minlength=self.num_classes)
        foreground = counts[1:].clone()
        foreground[answer - 1] = 1  # it is predicted, and so counts even where it does not occur
        dice = 2 * float(counts[answer]) / float(counts.sum() + counts[answer])
        return 1 - dice / int((foreground > 0).sum())
