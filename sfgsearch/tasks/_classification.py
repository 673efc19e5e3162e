"""Classification of whole images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from sfgsearch._choices import FRACTION
from sfgsearch._registry import task_types
from sfgsearch.functional import mutual_information
from sfgsearch.tasks._classes import (
    check_class_target,
    check_classes,
    loss_weights,
)
from sfgsearch.tasks._task import Task

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


@task_types.register("classification")
@dataclass(frozen=True)
class Classification(Task):
    """One of several classes; targets are int64 of shape (B,), predictions logits of shape (B, classes).

    Metrics are the accuracy over images, the balanced accuracy (mean recall of the classes that occur), the macro F1
    score and, of two classes, the area under the receiver operating characteristic of class 1. The error is one minus
    the accuracy, or with class weights one minus the balanced accuracy.

    Args:
        num_classes: Number of classes, at least 2.
        classes: Their names; indices if empty.
        class_weights: Weight of every class in the cross-entropy; all alike if empty.

    Raises:
        DataError: If there are too few classes, or names or weights do not fit them.
    """

    num_classes: int = 2
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_classes(self.name, self.num_classes, self.classes, self.class_weights)

    @property
    def outputs(self) -> int:
        """One logit per class."""
        return self.num_classes

    @property
    def units(self) -> dict[str, str]:
        """All metrics are fractions."""
        area = ("auroc",) if self.num_classes == 2 else ()
        return dict.fromkeys(("accuracy", "balanced_accuracy", "f1", *area), FRACTION)

    @property
    def headline(self) -> tuple[str, ...]:
        """The accuracy of which the error is made."""
        return (self._accuracy,)

    @property
    def _accuracy(self) -> str:
        return "balanced_accuracy" if self.class_weights else "accuracy"

    def check_target(self, target: Tensor) -> None:
        """Check that targets are classes or missing."""
        check_class_target(target, self.num_classes)

    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy, weighted by class."""
        return functional.cross_entropy(prediction, target, weight=loss_weights(self.class_weights, prediction))

    def metrics(self) -> MetricCollection:
        """Return accuracy, balanced accuracy, macro F1 and, of two classes, the area under the curve."""
        from sfgsearch.tasks._metrics import (
            AreaUnderCurve,
            BalancedAccuracy,
            MetricCollection,
            MulticlassAccuracy,
            MulticlassF1Score,
        )

        collection: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(self.num_classes, average="micro"),
            "balanced_accuracy": BalancedAccuracy(self.num_classes),
            "f1": MulticlassF1Score(self.num_classes, average="macro"),
        }
        if self.num_classes == 2:
            collection["auroc"] = AreaUnderCurve()
        return MetricCollection(collection)

    def error(self, metrics: dict[str, float]) -> float:
        """Return the error rate, balanced over classes if these have weights."""
        return 1 - metrics[self._accuracy]

    def trivial_error(self, train_target: Tensor, target: Tensor) -> float:
        """Return the error of always answering the most frequent class of the training data.

        The balanced error of a constant answer is the same for every class that occurs: one minus one over their
        number.
        """
        if self.class_weights:
            return 1 - 1 / int((target.bincount() > 0).sum())
        majority = train_target.bincount(minlength=self.num_classes).argmax()
        return float((target != majority).double().mean())

    def average(self, predictions: Tensor) -> Tensor:
        """Return the logarithm of the mean class probabilities."""
        return torch.logsumexp(predictions.log_softmax(-1), dim=0) - math.log(len(predictions))

    def uncertainty(self, predictions: Tensor) -> Tensor:
        """Return the mutual information of class and sample, in nats."""
        return mutual_information(predictions.log_softmax(-1))

    @property
    def uncertainty_unit(self) -> str:
        """Mutual information is in nats."""
        return "nats"
