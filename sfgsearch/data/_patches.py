"""Splits of large images: random patches of them for training, whole ones for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._splits import Batch, Split
from sfgsearch.errors import DataError

Images = Sequence[Tensor]
"""Float tensors of shape (C, *space), of sizes that may differ."""

DenseTargets = Mapping[str, Images]
"""By task, a tensor of shape (*space) for every image, which may be missing in part or as a whole.

Quantities are float, NaN where missing. Classes are integers of any type, :data:`sfgsearch.tasks.MISSING` where
missing: int16 takes little memory and has such a value, uint8 has none.
"""

_CHANNELS_AND_PLANE = 3


class _DenseSplit(Split):
    """Images in memory with dense targets; see :class:`WholeImages`."""

    def __init__(self, images: Images, targets: DenseTargets, source: SplitIdentity | None = None) -> None:
        spaces = [tuple(image.shape[1:]) for image in images]
        for name, values in targets.items():
            if [tuple(target.shape) for target in values] != spaces:
                raise DataError(f"targets of task {name!r} differ in number or size from the images")
        if not images:
            raise DataError("a split needs at least one image")
        self._images, self._targets = list(images), {name: list(values) for name, values in targets.items()}
        self._source = source

    def target(self, name: str) -> Tensor:
        """Return the targets of all voxels of all images, of shape (voxels,)."""
        return torch.cat([target.flatten() for target in self._targets[name]])

    def identity(self, tasks: Sequence[str]) -> SplitIdentity:
        """Return the digests of whole images and their targets, or of their source."""
        targets = {name: self._targets[name] for name in tasks}
        return self._source or SplitIdentity.of(len(self._images), self.stored_images(), targets)

    def stored_images(self) -> Iterator[Tensor]:
        """Yield the whole images one by one."""
        yield from (image[None] for image in self._images)


class WholeImages(_DenseSplit):
    """Images of any size with dense targets, one at a time where sizes differ or images are volumes.

    Args:
        images: The images.
        targets: Their targets.
        source: Identity of the arrays that both were computed from; see :class:`InMemory`.

    Raises:
        DataError: If there are no images, or a target's space differs from its image's.
    """

    def __len__(self) -> int:
        return len(self._images)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return images of one size and their targets."""
        targets = {name: torch.stack([values[index] for index in indices]) for name, values in self._targets.items()}
        return torch.stack([self._images[index] for index in indices]), targets

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of the first image."""
        return tuple(self._images[0].shape)

    @property
    def max_batch(self) -> int | None:
        """1 where sizes differ and for volumes, whose predictions are large; None otherwise."""
        are_volumes = self._images[0].ndim > _CHANNELS_AND_PLANE
        return 1 if are_volumes or len({image.shape for image in self._images}) > 1 else None


class RandomPatches(_DenseSplit):
    """Patches at random positions of images with dense targets; every shuffled epoch draws positions anew.

    Images smaller than a patch are padded with their border, and so are their targets.

    Args:
        images: The images.
        targets: Their targets.
        size: Space of a patch.
        per_image: Patches of every image in an epoch.
        seed: Fixes the positions before the first shuffled epoch.
        source: Identity of the arrays that images and targets were computed from; see :class:`InMemory`.

    Raises:
        DataError: If there are no images, a target's space differs from its image's, or the size has other dimensions.
    """

    def __init__(
        self,
        images: Images,
        targets: DenseTargets,
        size: tuple[int, ...],
        per_image: int = 1,
        seed: int = 0,
        source: SplitIdentity | None = None,
    ) -> None:
        super().__init__(images, targets, source)
        if images[0].ndim - 1 != len(size) or min(size) < 1 or per_image < 1:
            raise DataError(
                f"patches of size {size}, {per_image} per image, cannot be cut from images {tuple(images[0].shape)}"
            )
        self._images = [_pad(image, size) for image in images]
        self._padded = {name: [_pad(target[None], size)[0] for target in values] for name, values in targets.items()}
        self._size, self._per_image = size, per_image
        self.begin_epoch(torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self._images) * self._per_image

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return the patches of many indices at once, and their targets."""
        cuts = []
        for index in indices:
            sides = zip(self._starts[index].tolist(), self._size, strict=True)
            cuts.append((index // self._per_image, tuple(slice(start, start + side) for start, side in sides)))
        targets = {
            name: torch.stack([values[image][where] for image, where in cuts]) for name, values in self._padded.items()
        }
        return torch.stack([self._images[image][(slice(None), *where)] for image, where in cuts]), targets

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of a patch."""
        return (self._images[0].shape[0], *self._size)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the position of every patch, uniformly over those inside its image."""
        space = torch.tensor([image.shape[1:] for image in self._images]).repeat_interleave(self._per_image, dim=0)
        positions = space - torch.tensor(self._size) + 1
        draws = torch.rand(positions.shape, generator=generator, dtype=torch.float64)
        self._starts = (draws * positions).long()


def _pad(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Repeat the border at the far ends of an image (C, *space) until a patch fits."""
    missing = [max(side - have, 0) for side, have in zip(size, image.shape[1:], strict=True)]
    if not any(missing):
        return image
    pads = [amount for side in reversed(missing) for amount in (0, side)]
    return functional.pad(image[None].float(), pads, mode="replicate")[0].to(image.dtype)
