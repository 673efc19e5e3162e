"""Classification of whole images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from sfgsearch.functional import mutual_information
from sfgsearch.tasks._registry import task_types
from sfgsearch.tasks._task import FRACTION, Task


@task_types.register("classification")
@dataclass(frozen=True)
class Classification(Task):
    """One of several classes; targets are int64 of shape (B,), predictions logits of shape (B, classes).

    Args:
        num_classes: Number of classes, at least 2.
    """

    num_classes: int = 2

    @property
    def outputs(self) -> int:
        """One logit per class."""
        return self.num_classes

    @property
    def units(self) -> dict[str, str]:
        """Accuracy is a fraction."""
        return {"accuracy": FRACTION}

    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return functional.cross_entropy(prediction, target)

    def metrics(self) -> MetricCollection:
        """Return the share of right answers (over images, not averaged by class)."""
        return MetricCollection({"accuracy": MulticlassAccuracy(self.num_classes, average="micro")})

    def error(self, metrics: dict[str, float]) -> float:
        """Return the error rate."""
        return 1 - metrics["accuracy"]

    def trivial_error(self, train_target: Tensor, target: Tensor) -> float:
        """Return the error rate of always answering the most frequent class of the training data."""
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
