"""Finding images that hold NaN or infinity, which would make every number that comes from them one of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.data._splits import MultiTaskData, Split, largest_batch
from sfgsearch.errors import DataError

_BATCH = 64


def check_stored_images(data: MultiTaskData) -> None:
    """Check the images that a data set holds in memory.

    Raises:
        DataError: If one is not finite; the message names the split, the image and how many there are.
    """
    for name in SPLIT_NAMES:
        split: Split = getattr(data, name)
        _check(split.stored_images(), name)


def check_images(split: Split, name: str) -> None:
    """Check all images of a split as a network reads them, from files where they are there.

    Args:
        split: The split.
        name: What errors call it.

    Raises:
        DataError: As :func:`check_stored_images`.
    """
    _check(_read(split), name)


def _read(split: Split) -> Iterator[Tensor]:
    indices = iter(range(len(split)))
    while batch := list(islice(indices, largest_batch(split, _BATCH))):
        yield split.__getitems__(batch)[0]


def _check(batches: Iterable[Tensor], name: str) -> None:
    first, count, seen = 0, 0, 0
    for images in batches:
        if images.is_floating_point() and not torch.stack(torch.aminmax(images)).isfinite().all():  # ten times as fast
            bad = (~torch.isfinite(images)).flatten(1).any(1).nonzero().flatten().tolist()
            first, count = (first if count else seen + bad[0]), count + len(bad)
        seen += len(images)
    if count:
        raise DataError(
            f"{name} split: image {first} (counted from 0) holds NaN or infinity, as {count} of {seen} images do; "
            "correct them, or leave them out"
        )
