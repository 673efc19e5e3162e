"""Classification of whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from sfgsearch._choices import FRACTION
from sfgsearch._registry import task_types
from sfgsearch.tasks._classes import ClassTask

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


@task_types.register("classification")
@dataclass(frozen=True)
class Classification(ClassTask):
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
