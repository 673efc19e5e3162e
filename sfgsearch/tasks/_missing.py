"""Missing targets: where a target is present, and what is left of a batch there."""

from __future__ import annotations

import torch
from torch import Tensor

MISSING = -1
"""The class of a target that is missing; quantities that are missing are NaN."""


def is_present(target: Tensor) -> Tensor:
    """Return where targets are present: numbers that are not NaN, classes other than :data:`MISSING`.

    Args:
        target: Quantities (floating point) or classes (integers), of any shape.

    Returns:
        Bool, of the same shape.
    """
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
