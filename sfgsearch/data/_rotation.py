"""Rotation of batches of images about their centres."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

_OUTSIDE = {"zero": "zeros", "reflect": "reflection"}


def rotate(
    images: Tensor,
    degrees: Tensor,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["zero", "reflect"] = "zero",
) -> Tensor:
    """Rotate every image of a batch by an angle of its own, in one call.

    A pixel at p of the result shows what the image has at R(-angle) p, both seen from the centre.

    Args:
        images: Float of shape (B, C, H, W).
        degrees: Angles of shape (B,) in degrees; positive ones turn counterclockwise as one sees the image, its first
            row on top.
        mode: How values between pixels come about.
        padding: What is outside the image: zero, or the image in a mirror at its border.

    Returns:
        The rotated images, shape (B, C, H, W).
    """
    height, width = images.shape[-2:]
    angles = torch.deg2rad(degrees.to(images))
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # grid_sample measures both axes from -1 to 1, whatever their lengths: the ratio keeps pixels square.
    to_source = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(to_source, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode, padding_mode=_OUTSIDE[padding], align_corners=False)
