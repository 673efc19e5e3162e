"""Tasks whose targets are classes: their checks, weights, and averages over predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sfgsearch.errors import DataError
from sfgsearch.functional import mutual_information
from sfgsearch.tasks._task import MISSING, Task, is_present

_MOST_CLASSES = 2**16
_WEIGHTS = (1e-6, 1e6)
_UNSUPPORTED = (torch.uint16, torch.uint32, torch.uint64)


@dataclass(frozen=True)
class ClassTask(Task):
    """One of several classes for every image or voxel.

    Args:
        num_classes: Number of classes, at least 2.
        classes: Their names; indices if empty.
        class_weights: Weight of every class in the cross-entropy; all alike if empty.

    Raises:
        DataError: If there are too few classes or too many, or names or weights do not fit them.
    """

    num_classes: int = 2
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        number, classes, weights, task = self.num_classes, self.classes, self.class_weights, f"task {self.name!r}"
        if number < 2:
            raise DataError(f"{task}: at least 2 classes are needed, got {number}")
        if number > _MOST_CLASSES:
            raise DataError(f"{task}: at most {_MOST_CLASSES} classes are allowed, got {number}")
        if classes and (len(classes) != number or len(set(classes)) < number):
            raise DataError(f"{task}: {number} classes need as many names, all distinct, got {classes}")
        if odd := [word for word in classes if not word.isprintable()]:
            raise DataError(f"{task}: the class {odd[0]!r} has characters that cannot be printed; correct it")
        low, high = _WEIGHTS
        if weights and (len(weights) != number or not all(low <= weight <= high for weight in weights)):
            raise DataError(
                f"{task}: class_weights must be {number} numbers from {low:g} to {high:g}, one per class, got "
                f"{list(weights)}; to leave a class out, list it in ignore or missing"
            )

    @property
    def outputs(self) -> int:
        """One logit per class."""
        return self.num_classes

    def check_target(self, target: Tensor) -> None:
        """Check that targets are classes or missing."""
        if target.is_floating_point() or target.dtype == torch.bool:
            raise DataError(f"targets are {target.dtype}; classes are integers, {MISSING} where one is missing")
        target = as_signed(target)
        wrong = target[is_present(target) & ((target < 0) | (target >= self.num_classes))]
        if wrong.numel():
            raise DataError(
                f"the class {int(wrong[0])} is not in 0 to {self.num_classes - 1}; correct it, or set it to {MISSING} "
                "if it is missing"
            )

    def negative_log_likelihood(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy over images or voxels, weighted by class."""
        weights = prediction.new_tensor(self.class_weights) if self.class_weights else None
        return functional.cross_entropy(prediction, target, weight=weights)

    def average(self, predictions: Tensor) -> Tensor:
        """Return the logarithm of the mean class probabilities, from (S, B, classes, *space)."""
        return torch.logsumexp(predictions.log_softmax(2), dim=0) - math.log(len(predictions))

    def uncertainty(self, predictions: Tensor) -> Tensor:
        """Return the mutual information of class and sample for every image or voxel, in nats."""
        return mutual_information(predictions.log_softmax(2).movedim(2, -1))

    @property
    def uncertainty_unit(self) -> str:
        """Mutual information is in nats."""
        return "nats"


def as_signed(target: Tensor) -> Tensor:
    """Return classes as a type that torch computes with: wide unsigned ones as int64, others as they are."""
    return target.long() if target.dtype in _UNSUPPORTED else target


def balanced_weights(target: Tensor, num_classes: int) -> tuple[float, ...]:
    """Return class weights under which every class weighs as much as any other: N / (classes * N_c).

    Args:
        target: Classes of the training split, of any shape; missing ones do not count.
        num_classes: Number of classes; one that does not occur gets the weight of one that occurs once.
    """
    target = as_signed(target)
    counts = target[is_present(target)].long().bincount(minlength=num_classes)
    return tuple((counts.sum() / (num_classes * counts.clamp(min=1))).tolist())
