"""Splits of multi-task data, and batches from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.data._identity import DataIdentity, LabelCount, SplitIdentity
from sfgsearch.data._labels import count_labels, describe_labels
from sfgsearch.data._window import SlidingWindow
from sfgsearch.errors import DataError
from sfgsearch.tasks import Task

Targets = dict[str, Tensor]
Batch = tuple[Tensor, Targets]
_CHUNK = 256


class Split(Dataset[Batch], ABC):
    """Images and their targets for every task, fetched a batch at a time."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> Batch:
        """Return images, float of shape (B, C, *space), and the targets by task of many indices at once."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of an image; of the first, where sizes differ."""

    @abstractmethod
    def target(self, name: str) -> Tensor:
        """Return all targets of a task, missing ones included.

        They may have any shape; classes are integers of any type, :data:`sfgsearch.tasks.MISSING` where one is missing,
        quantities are floating point, NaN where one is missing.
        """

    @property
    def max_batch(self) -> int | None:
        """The most images that a batch can hold: 1 where sizes differ; None for any number."""
        return None

    def stored_images(self) -> Iterator[Tensor]:
        """Yield the images that are in memory in batches (B, C, *space); none where they are read when they are used.

        They are checked when data are loaded.
        """
        yield from ()

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Prepare for a shuffled epoch; splits of random patches draw new positions from ``generator``."""

    def identity(self, tasks: Sequence[str]) -> SplitIdentity:
        """Return the digests of images and of the targets of tasks, which a study compares before it continues.

        Here the targets are read, but of the images only their number and shape, since they may be in files. A split
        that knows more should say it, such as the names and sizes of these files:
        ``SplitIdentity.of(len(self), [numpy.array(names), numpy.array(sizes)], targets)``.
        """
        shape = np.array([len(self), *self.image_shape])
        return SplitIdentity.of(len(self), [shape], {name: [self.target(name)] for name in tasks})


class InMemory(Split):
    """A split that fits into memory.

    Args:
        images: Float of shape (N, C, *space), or uint8, which takes a quarter of the memory and comes out as float
            in [0, 1].
        targets: For every task, a tensor whose first dimension is N. Where a target is missing, quantities are NaN
            and classes :data:`sfgsearch.tasks.MISSING`. Classes are integers of any type.
        source: Identity of the arrays that images and targets were computed from, where processors round the result
            differently; it stands for both.

    Raises:
        DataError: If a target's length differs from the images' or the split is empty.
    """

    def __init__(self, images: Tensor, targets: Mapping[str, Tensor], source: SplitIdentity | None = None) -> None:
        lengths = {name: len(target) for name, target in targets.items()}
        if not len(images) or any(length != len(images) for length in lengths.values()):
            raise DataError(f"a split needs as many targets as images, got {len(images)} images and {lengths}")
        self.images, self.targets, self._source = images, dict(targets), source

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return _as_float(self.images[index]), {name: target[index] for name, target in self.targets.items()}

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return the images and targets of many indices at once."""
        chosen = torch.tensor(indices)
        return _as_float(self.images[chosen]), {name: target[chosen] for name, target in self.targets.items()}

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of one image."""
        return tuple(self.images.shape[1:])

    def target(self, name: str) -> Tensor:
        """Return all targets of a task."""
        return self.targets[name]

    def identity(self, tasks: Sequence[str]) -> SplitIdentity:
        """Return the digests of images and targets, or of their source."""
        targets = {name: [self.targets[name]] for name in tasks}
        return self._source or SplitIdentity.of(len(self), [self.images], targets)

    def stored_images(self) -> Iterator[Tensor]:
        """Yield all images as they are stored."""
        yield from (self.images[start : start + _CHUNK] for start in range(0, len(self), _CHUNK))


def _as_float(images: Tensor) -> Tensor:
    """Return float images as they are and bytes divided by 255."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class MultiTaskData:
    """A data set: splits to train on, to select on and, once, to test on.

    Args:
        tasks: The tasks, in order.
        train: Training split.
        validation: Split for the selection of trials.
        test: Split that is read for the winners only.
        notes: Sentences that a user should read, such as how many files were skipped.
        window: How a network predicts images larger than those it is trained on; at once if None.
        is_fixed: Whether the splits are given, such as by a column, so that they are the same for every seed.
    """

    tasks: tuple[Task, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    window: SlidingWindow | None = None
    is_fixed: bool = False

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: ``"train"``, ``"validation"`` and ``"test"``."""
        return {name: getattr(self, name) for name in SPLIT_NAMES}

    @cached_property
    def labels(self) -> dict[str, dict[str, LabelCount]]:
        """How many targets are present, by split, then by task."""
        return {name: count_labels(split, self.tasks) for name, split in self.splits.items()}

    @cached_property
    def identity(self) -> DataIdentity:
        """Which data these are."""
        return DataIdentity.of(self)

    @property
    def summary(self) -> tuple[str, ...]:
        """Sentences about the data that a user should read: size of splits and labels that are present, then notes."""
        return (describe_labels(self), *self.notes)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of one training image."""
        return self.train.image_shape


def batches(
    split: Split, batch_size: int, device: torch.device, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """Yield the batches of one epoch on a device, classes of any integer type as int64.

    Args:
        split: The split.
        batch_size: Images per batch, fewer where the split says so; the last batch of an epoch may be smaller.
        device: Where batches go.
        generator: Shuffles the epoch; in order if None. A shuffled epoch drops a last batch of one image, which
            batch norm could not use.
    """
    if generator is not None:
        split.begin_epoch(generator)
    size = largest_batch(split, batch_size)
    loader = DataLoader(
        split,
        batch_size=size,
        shuffle=generator is not None,
        generator=generator or torch.Generator(),  # without one of its own, a loader draws from torch's
        collate_fn=lambda batch: batch,  # fetched as one already
    )
    for images, targets in loader:
        if generator is not None and len(images) == 1 < size:
            continue
        moved = {name: target.to(device, non_blocking=True) for name, target in targets.items()}
        moved = {name: target if target.is_floating_point() else target.long() for name, target in moved.items()}
        yield images.to(device, non_blocking=True), moved


def largest_batch(split: Split, batch_size: int) -> int:
    """Return how many images a batch of a split holds: ``batch_size``, or fewer where the split says so."""
    return min(batch_size, split.max_batch or batch_size)
