"""Random flips, crops and rotations of training batches.

Space is (height, width) or (depth, height, width); dense targets (B, *space) go through every function as images
(B, 1, *space). Targets that are missing move along, and never mix with others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from sfgsearch._choices import FlipAxis, Padding
from sfgsearch.data._interpolation import interpolate_present, rotate
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING

_DIMENSIONS: dict[FlipAxis, int] = {"horizontal": -1, "vertical": -2, "depth": -3}
_HALF_TURN = 180.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training batches, in this order: flips, rotation, crop. By default none.

    Targets for the whole image stay as they are: leave out what would make them wrong, such as rotation where the
    task is to tell an angle.

    Args:
        flips: Axes along which every image is flipped with probability 1/2, ``"horizontal"`` (left and right),
            ``"vertical"`` or ``"depth"``.
        crop: Pixels by which images are padded on every side before a random crop of the original size: each image
            is shifted by up to so many pixels along each axis.
        padding: The continuation beyond the border, for crops and rotations: ``"reflect"``, image and dense targets in
            a mirror, or ``"zero"``, black in images and missing in dense targets.
        rotation: Largest angle in degrees; each image is turned by a uniform one up to it, in the axial plane
            (height and width).
    """

    flips: tuple[FlipAxis, ...] = ()
    crop: int = 0
    padding: Padding = "reflect"
    rotation: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.flips or self.crop or self.rotation)

    @property
    def hides_targets(self) -> bool:
        """Whether dense targets may come out with missing pixels where they had none."""
        return self.padding == "zero" and bool(self.crop or self.rotation)

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Check that images (C, *space) can go through it.

        Raises:
            DataError: If an axis is unknown, twice there or none of the images', or a number is out of range.
        """
        space = image_shape[1:]
        axes = get_args(FlipAxis)[: len(space)]
        if len(set(self.flips)) < len(self.flips) or not set(self.flips) <= set(axes):
            raise DataError(f"flips must be some of {', '.join(map(repr, axes))} here, got {list(self.flips)}")
        if not 0 <= self.crop < min(space):
            raise DataError(f"crop must be at least 0 and below the {min(space)} pixels of a side, got {self.crop}")
        if self.padding not in get_args(Padding):
            raise DataError(f"padding must be 'reflect' or 'zero', got {self.padding!r}")
        if not 0 <= self.rotation <= _HALF_TURN:
            raise DataError(f"rotation must be 0 to {_HALF_TURN:g} degrees, got {self.rotation}")

    def __call__(
        self, images: Tensor, targets: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a batch after random changes, images and dense targets alike; missing targets stay missing.

        Args:
            images: Float of shape (B, C, *space).
            targets: By task; those of shape (B, *space) are dense, and classes among them come out as int64 where
                their type has no value for a missing one.
            generator: Draws the changes, on the CPU, whatever device the batch is on.
        """
        number, space, device = len(images), images.shape[2:], images.device
        maps = [images]
        dense = [name for name, target in targets.items() if target.shape[1:] == space]
        signed = [targets[name] if targets[name].dtype.is_signed else targets[name].long() for name in dense]
        maps += [target[:, None] for target in signed]
        for axis in self.flips:
            chosen = (torch.rand(number, generator=generator) < 0.5).to(device)
            maps = [flip(values, axis, chosen) for values in maps]
        if self.rotation:
            degrees = ((2 * torch.rand(number, generator=generator) - 1) * self.rotation).to(device)
            maps = [turn(maps[0], degrees, self.padding), *(turn_target(it, degrees, self.padding) for it in maps[1:])]
        if self.crop:
            reach = 2 * self.crop + 1
            offsets = (torch.randint(reach, (number, len(space)), generator=generator) - self.crop).to(device)
            beyond = [0.0, *(torch.nan if target.is_floating_point() else MISSING for target in maps[1:])]
            maps = [shift(it, offsets, self.padding, fill) for it, fill in zip(maps, beyond, strict=True)]
        changed = {name: values[:, 0] for name, values in zip(dense, maps[1:], strict=True)}
        return maps[0], {**targets, **changed}


def flip(values: Tensor, axis: FlipAxis, chosen: Tensor) -> Tensor:
    """Flip those of a batch (B, C, *space) along an axis that ``chosen``, bool of shape (B,), says."""
    return torch.where(chosen.view(-1, *[1] * (values.ndim - 1)), values.flip(_DIMENSIONS[axis]), values)


def shift(values: Tensor, offsets: Tensor, padding: Padding, beyond: float = 0.0) -> Tensor:
    """Crop every image of a batch at a position of its own, padding beyond the border.

    Args:
        values: Shape (B, C, *space), of any type.
        offsets: Whole numbers of shape (B, dimensions), from -size + 1 to size - 1: the result shows at p what was at
            p + offset.
        padding: The image in a mirror (the border itself is not repeated) or one value.
        beyond: That value.
    """
    for dimension, offset in enumerate(offsets.T, start=2):
        size = values.shape[dimension]
        position = torch.arange(size, device=values.device) + offset[:, None]
        inside = (position >= 0) & (position < size)
        mirrored = (size - 1) - (position.abs() - (size - 1)).abs()
        shape = [len(values), *[1] * (values.ndim - 1)]
        shape[dimension] = size
        values = values.gather(dimension, mirrored.view(shape).expand_as(values))
        if padding == "zero":
            values = values.masked_fill(~inside.view(shape), beyond)
    return values


def turn(images: Tensor, degrees: Tensor, padding: Padding) -> Tensor:
    """Rotate float images (B, C, *space) in the axial plane, counterclockwise by angles of shape (B,)."""
    return rotate(images.flatten(1, -3), degrees, "bilinear", padding).view_as(images)


def turn_target(target: Tensor, degrees: Tensor, padding: Padding) -> Tensor:
    """Rotate dense targets (B, 1, *space), signed: quantities are interpolated, classes those of the nearest pixel.

    With padding ``"zero"`` they are missing beyond the border. Quantities are averages over present pixels alone, and
    missing wherever a missing pixel has a weight in one.
    """
    if not target.is_floating_point():
        above_zero = (target - MISSING).float()  # so that zero, beyond the border, stands for missing
        turned = rotate(above_zero.flatten(1, -3), degrees, "nearest", padding).round() + MISSING
        return turned.to(target.dtype).view_as(target)
    return interpolate_present(target, lambda values: turn(values, degrees, padding))
