"""Interpolation of images: rotation in batches, and quantities that are missing in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

_OUTSIDE = {"zero": "zeros", "reflect": "reflection"}
_ROUNDING = 1e-3  # a missing voxel's weight up to this is rounding in the coordinates of large images


def rotate(
    images: Tensor,
    degrees: Tensor,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["zero", "reflect"] = "zero",
) -> Tensor:
    """Rotate every image of a batch about its centre by an angle of its own.

    A pixel at p of the result shows what the image has at R(-angle) p, both seen from the centre.

    Args:
        images: Float of shape (B, C, H, W).
        degrees: Shape (B,); positive angles turn counterclockwise as one sees the image, its first row on top.
        mode: The interpolation between pixels.
        padding: The continuation outside the image: zero, or the image in a mirror at its border.
    """
    height, width = images.shape[-2:]
    angles = torch.deg2rad(degrees.to(images))
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # grid_sample measures both axes from -1 to 1, whatever their lengths: the ratio keeps pixels square.
    to_source = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(to_source, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode, padding_mode=_OUTSIDE[padding], align_corners=False)


def interpolate_present(values: Tensor, interpolate: Callable[[Tensor], Tensor]) -> Tensor:
    """Interpolate quantities, NaN where missing, from those that are present.

    A result is missing where a missing value has a weight in it, or where the weights do not sum to one, as beyond the
    border of an image that is continued with zeros. ``interpolate`` returns weighted means of what it gets, with the
    same weights every time.
    """
    missing = values.isnan()
    weight = interpolate((~missing).to(values.dtype))
    mean = interpolate(values.masked_fill(missing, 0.0)) / weight
    return mean.masked_fill(weight < 1 - _ROUNDING, torch.nan)
