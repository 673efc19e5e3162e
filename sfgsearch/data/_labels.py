"""Counts of the targets of a data set, and checks of targets and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfgsearch.data._files import enumerate_some
from sfgsearch.data._identity import LabelCount
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation, Task, is_present
from sfgsearch.tasks._classes import as_signed

if TYPE_CHECKING:
    from sfgsearch.data._splits import MultiTaskData, Split

_FEW, _BATCH = 2, 64
_UNITS = {Classification: "image", Regression: "image", Segmentation: "pixel", DenseRegression: "pixel"}


def count_labels(split: Split, tasks: Iterable[Task]) -> dict[str, LabelCount]:
    """Count the targets of a split by task."""
    present = {task.name: is_present(split.target(task.name)) for task in tasks}
    return {name: LabelCount(int(targets.sum()), targets.numel()) for name, targets in present.items()}


def check_labels(data: MultiTaskData) -> None:
    """Check that the targets of every task have the values and shape that it takes, and that each split has some.

    Training must have all classes of images; whether it must have all classes of pixels is up to the data set, since a
    rare one is not in every image.

    Raises:
        DataError: If a target is not allowed, a split has none of a task, or training lacks a class.
    """
    for name, split in data.splits.items():
        for task in data.tasks:
            try:
                task.check_target(split.target(task.name))
            except DataError as error:
                raise DataError(f"task {task.name!r}, {name} split: {error}") from error
            if not data.labels[name][task.name].present:
                raise DataError(
                    f"task {task.name!r} has no label in the {name} split; label some of its images, change how data "
                    "are split, or leave the task out"
                )
        _check_shapes(name, split, data.tasks)
    check_seen(data, [task for task in data.tasks if isinstance(task, Classification)])


def _check_shapes(name: str, split: Split, tasks: Iterable[Task]) -> None:
    """Check that a batch has one target for each image or pixel: losses would broadcast others without a word."""
    images, targets = split.__getitems__(list(range(min(len(split), split.max_batch or _FEW))))
    for task in tasks:
        unit = _UNITS.get(type(task))  # a task of one's own takes what it likes
        expected = images.shape[:1] + (images.shape[2:] if unit == "pixel" else ())
        shape = targets[task.name].shape
        if unit and shape != expected:
            raise DataError(
                f"task {task.name!r}, {name} split: the targets of {len(images)} images have the shape {tuple(shape)}; "
                f"reshape them to {tuple(expected)}, one for each {unit}"
            )


def check_seen(data: MultiTaskData, tasks: Iterable[Task]) -> None:
    """Check that training data have all classes that validation and test have.

    Args:
        data: The data set.
        tasks: Those whose targets are classes.

    Raises:
        DataError: If one is not there.
    """
    for task in tasks:
        names = getattr(task, "classes", ())
        found = {name: _classes(split, task) for name, split in data.splits.items()}
        for name, classes in found.items():
            if unseen := [names[one] if names else one for one in sorted(classes - found["train"])]:
                listed = enumerate_some([repr(one) for one in unseen])
                raise DataError(
                    f"tasks.{task.name}: the classes {listed} are in the {name} split but not in the training split; "
                    "add training images of them, leave them out, or change the split"
                )


def _classes(split: Split, task: Task) -> set[int]:
    target = as_signed(split.target(task.name))
    return set(target[is_present(target)].bincount().nonzero().flatten().tolist())


def describe_labels(data: MultiTaskData) -> str:
    """Return a sentence about the size of every split and the labels that are missing.

    Returns:
        Such as ``"700, 150 and 150 images for training, validation and test; labels present: sex all, age 466, 102
        and 99"``; of dense tasks in percent of the pixels.
    """
    sizes = _enumerate(f"{len(split):,}" for split in data.splits.values())
    labels = (f"{task.name} {_describe(data, task.name)}" for task in data.tasks)
    return f"{sizes} images for training, validation and test; labels present: {', '.join(labels)}"


def _describe(data: MultiTaskData, task: str) -> str:
    counts = {name: labels[task] for name, labels in data.labels.items()}
    if not any(count.missing for count in counts.values()):
        return "all"
    if any(count.total > len(data.splits[name]) for name, count in counts.items()):
        return _enumerate(f"{100 * count.present / count.total:.3g}" for count in counts.values()) + " % of the pixels"
    return _enumerate(f"{count.present:,}" for count in counts.values())


def _enumerate(items: Iterable[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}"


def check_stored_images(data: MultiTaskData) -> None:
    """Check the images that a data set holds in memory.

    Raises:
        DataError: If one is NaN or infinite; the message names the split, the image and how many there are.
    """
    for name, split in data.splits.items():
        _check_finite(split.stored_images(), name)


def check_images(split: Split, name: str) -> None:
    """Check all images of a split, called ``name`` in errors, as a network reads them, from files where they are there.

    Raises:
        DataError: As :func:`check_stored_images`.
    """
    _check_finite(_read(split), name)


def _read(split: Split) -> Iterator[Tensor]:
    indices = iter(range(len(split)))
    while batch := list(islice(indices, min(_BATCH, split.max_batch or _BATCH))):
        yield split.__getitems__(batch)[0]


def _check_finite(batches: Iterable[Tensor], name: str) -> None:
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
