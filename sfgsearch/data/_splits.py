"""Splits of multi-task data, and batches from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sfgsearch.errors import DataError
from sfgsearch.tasks import Task

Targets = dict[str, Tensor]
Batch = tuple[Tensor, Targets]


class InMemory(Dataset[Batch]):
    """A split that fits into memory, and is fetched a batch at a time.

    Args:
        images: Float of shape (N, C, *space), or uint8, which takes a quarter of the memory and comes out as float
            in [0, 1].
        targets: For every task, a tensor whose first dimension is N.

    Raises:
        DataError: If a target's length differs from the images' or the split is empty.
    """

    def __init__(self, images: Tensor, targets: Mapping[str, Tensor]) -> None:
        lengths = {name: len(target) for name, target in targets.items()}
        if not len(images) or any(length != len(images) for length in lengths.values()):
            raise DataError(f"a split needs as many targets as images, got {len(images)} images and {lengths}")
        self.images, self.targets = images, dict(targets)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return _as_float(self.images[index]), {name: target[index] for name, target in self.targets.items()}

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return the images and targets of many indices at once."""
        chosen = torch.tensor(indices)
        return _as_float(self.images[chosen]), {name: target[chosen] for name, target in self.targets.items()}


def _as_float(images: Tensor) -> Tensor:
    """Return float images as they are and bytes divided by 255."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class MultiTaskData:
    """A data set: what a study trains on, selects on and, once, tests on.

    Args:
        tasks: The tasks, in order.
        train: Training split.
        validation: Split for the selection of trials.
        test: Split that is read for the winners only.
        notes: Sentences that a user should read, such as how many files were skipped.
    """

    tasks: tuple[Task, ...]
    train: InMemory
    validation: InMemory
    test: InMemory
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of one image."""
        return tuple(self.train.images.shape[1:])


def batches(
    split: InMemory, batch_size: int, device: torch.device, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """Yield the batches of one epoch on a device.

    Args:
        split: What to read.
        batch_size: Images per batch; the last batch of an epoch may be smaller.
        device: Where batches go.
        generator: Shuffles the epoch; in order if None. A shuffled epoch drops a last batch of one image, which
            batch norm could not use.
    """
    loader = DataLoader(
        split,
        batch_size=batch_size,
        shuffle=generator is not None,
        generator=generator or torch.Generator(),  # without one of its own, a loader draws from torch's
        collate_fn=_as_fetched,
    )
    for images, targets in loader:
        if generator is not None and len(images) == 1:
            continue
        yield (
            images.to(device, non_blocking=True),
            {name: target.to(device, non_blocking=True) for name, target in targets.items()},
        )


def _as_fetched(batch: Any) -> Any:
    """Pass on what ``__getitems__`` has batched already."""
    return batch
