"""Interpolation of quantities that are missing in part."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_ROUNDING = 1e-3  # a missing voxel's weight up to this is rounding in the coordinates of large images


def interpolate_present(values: Tensor, interpolate: Callable[[Tensor], Tensor]) -> Tensor:
    """Interpolate quantities from those that are present: none is mixed with one that is missing.

    A result is missing where a missing value has a weight in it, or where the weights do not sum to one, as beyond the
    border of an image that is continued with zeros.

    Args:
        values: Float, NaN where missing.
        interpolate: Returns weighted means of what it gets, with the same weights every time.
    """
    missing = values.isnan()
    weight = interpolate((~missing).to(values.dtype))
    mean = interpolate(values.masked_fill(missing, 0.0)) / weight
    return mean.masked_fill(weight < 1 - _ROUNDING, torch.nan)
