"""Checks, weights and metrics of tasks whose targets are classes."""

from __future__ import annotations

import torch
from torch import Tensor

from sfgsearch.errors import DataError
from sfgsearch.tasks._missing import MISSING, is_present

_MOST_CLASSES = 2**16
_WEIGHTS = (1e-6, 1e6)
_UNSUPPORTED = (torch.uint16, torch.uint32, torch.uint64)


def check_classes(name: str, num_classes: int, classes: tuple[str, ...], class_weights: tuple[float, ...]) -> None:
    """Check what a task says of its classes.

    Args:
        name: The task.
        num_classes: How many there are.
        classes: Their names; none if empty.
        class_weights: Their weights in the loss; all alike if empty.

    Raises:
        DataError: If there are too few classes or too many, or names or weights do not fit them.
    """
    if num_classes < 2:
        raise DataError(f"task {name!r}: at least 2 classes are needed, got {num_classes}")
    if num_classes > _MOST_CLASSES:
        raise DataError(f"task {name!r}: at most {_MOST_CLASSES} classes are allowed, got {num_classes}")
    if classes and (len(classes) != num_classes or len(set(classes)) < num_classes):
        raise DataError(f"task {name!r}: {num_classes} classes need as many names, all distinct, got {classes}")
    odd = next((repr(word) for word in classes if not word.isprintable()), None)
    if odd:
        raise DataError(f"task {name!r}: the class {odd} has characters that cannot be printed; correct it")
    low, high = _WEIGHTS
    if class_weights and (len(class_weights) != num_classes or not all(low <= w <= high for w in class_weights)):
        raise DataError(
            f"task {name!r}: class_weights must be {num_classes} numbers from {low:g} to {high:g}, one per class, got "
            f"{list(class_weights)}; to leave a class out, list it in ignore or missing"
        )


def check_class_target(target: Tensor, num_classes: int) -> None:
    """Check that targets are classes or missing.

    Raises:
        DataError: If one is neither.
    """
    if target.is_floating_point() or target.dtype == torch.bool:
        raise DataError(f"targets are {target.dtype}; classes are integers, {MISSING} where one is missing")
    target = as_signed(target)
    wrong = target[is_present(target) & ((target < 0) | (target >= num_classes))]
    if wrong.numel():
        raise DataError(
            f"the class {int(wrong[0])} is not in 0 to {num_classes - 1}; correct it, or set it to {MISSING} if it is "
            "missing"
        )


def as_signed(target: Tensor) -> Tensor:
    """Return classes as a type that torch computes with: wide unsigned ones as int64, others as they are."""
    return target.long() if target.dtype in _UNSUPPORTED else target


def balanced_weights(target: Tensor, num_classes: int) -> tuple[float, ...]:
    """Return class weights under which every class weighs as much as any other: N / (classes * N_c).

    Args:
        target: Classes of the training split, of any shape; missing ones do not count.
        num_classes: How many classes there are; one that does not occur gets the weight of one that occurs once.
    """
    target = as_signed(target)
    counts = target[is_present(target)].long().bincount(minlength=num_classes)
    return tuple((counts.sum() / (num_classes * counts.clamp(min=1))).tolist())


def loss_weights(class_weights: tuple[float, ...], like: Tensor) -> Tensor | None:
    """Return class weights as a tensor of the kind of predictions; None if there are none."""
    return torch.tensor(class_weights, dtype=like.dtype, device=like.device) if class_weights else None
