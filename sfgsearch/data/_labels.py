"""Counts and checks of the targets of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.data._identity import LabelCount
from sfgsearch.data._rows import enumerate_some
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation, Task, is_present
from sfgsearch.tasks._classes import as_signed

if TYPE_CHECKING:
    from sfgsearch.data._splits import MultiTaskData, Split

_FEW = 2
_UNITS = {Classification: "image", Regression: "image", Segmentation: "pixel", DenseRegression: "pixel"}


def count_labels(split: Split, tasks: Iterable[Task]) -> dict[str, LabelCount]:
    """Count the targets of a split by task."""
    present = {task.name: is_present(split.target(task.name)) for task in tasks}
    return {name: LabelCount(int(targets.sum()), targets.numel()) for name, targets in present.items()}


def check_labels(data: MultiTaskData) -> None:
    """Check that the targets of every task have the values and shape that it takes, and that each split has some.

    Of classes of images, training must have all; whether it must of classes of pixels is up to the data set, since
    what is rare is not in every image.

    Raises:
        DataError: If a target is not allowed, a split has none of a task, or training lacks a class.
    """
    for split in SPLIT_NAMES:
        for task in data.tasks:
            try:
                task.check_target(getattr(data, split).target(task.name))
            except DataError as error:
                raise DataError(f"task {task.name!r}, {split} split: {error}") from error
            if not data.labels[split][task.name].present:
                raise DataError(
                    f"task {task.name!r} has no label in the {split} split; label some of its images, change how data "
                    "are split, or leave the task out"
                )
        _check_shapes(split, getattr(data, split), data.tasks)
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
        seen = _classes(data.train, task)
        for split in SPLIT_NAMES[1:]:
            unseen = [names[one] if names else one for one in sorted(_classes(getattr(data, split), task) - seen)]
            if unseen:
                listed = enumerate_some([repr(one) for one in unseen])
                raise DataError(
                    f"tasks.{task.name}: the classes {listed} are in the {split} split but not in the training split; "
                    "add training images of them, leave them out, or change the split"
                )


def _classes(split: Split, task: Task) -> set[int]:
    target = as_signed(split.target(task.name))
    counts = target[is_present(target)].bincount()
    return set(counts.nonzero().flatten().tolist())


def describe_labels(data: MultiTaskData) -> str:
    """Return a sentence about the size of every split and the labels that are missing.

    Returns:
        Such as ``"700, 150 and 150 images for training, validation and test; labels present: sex all, age 466, 102
        and 99"``; of dense tasks in percent of the pixels.
    """
    sizes = _enumerate(f"{len(getattr(data, split)):,}" for split in SPLIT_NAMES)
    labels = (f"{task.name} {_describe(data, task.name)}" for task in data.tasks)
    return f"{sizes} images for training, validation and test; labels present: {', '.join(labels)}"


def _describe(data: MultiTaskData, task: str) -> str:
    counts = [data.labels[split][task] for split in SPLIT_NAMES]
    if not any(count.missing for count in counts):
        return "all"
    are_pixels = any(count.total > len(getattr(data, split)) for split, count in zip(SPLIT_NAMES, counts, strict=True))
    if are_pixels:
        return _enumerate(f"{100 * count.present / count.total:.3g}" for count in counts) + " % of the pixels"
    return _enumerate(f"{count.present:,}" for count in counts)


def _enumerate(items: Iterable[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}"
