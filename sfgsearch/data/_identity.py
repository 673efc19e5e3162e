"""Which data a study saw: digests of images and targets by split, and the tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.data._digests import Array, digest_and_pool, text_digest

if TYPE_CHECKING:
    from sfgsearch.data._splits import MultiTaskData

_LONGEST_SHOWN = 60
_MOST_NAMED = 3
_WEIGHTS = "class_weights"


class LabelCount(NamedTuple):
    """How many targets of a task are present in a split: one per image, or one per pixel for dense tasks.

    Args:
        present: Targets that are present.
        total: Those that there could be.
    """

    present: int
    total: int

    @property
    def missing(self) -> int:
        """Targets that are missing."""
        return self.total - self.present


@dataclass(frozen=True)
class SplitIdentity:
    """Which images and targets a split holds.

    Args:
        number: Number of images.
        images: Digest of the images in their order.
        pool: Checksum of the images that is the same in any order; those of several splits add up modulo 2^64.
        targets: Digest of the targets by task.
    """

    number: int
    images: str
    pool: int
    targets: Mapping[str, str]

    @classmethod
    def of(cls, number: int, images: Iterable[Array], targets: Mapping[str, Iterable[Array]]) -> Self:
        """Take the digests of images and targets, or of what they were computed from.

        Where images or targets are the result of arithmetic that processors round differently, such as interpolation,
        normalisation or means, their own digests would differ between machines. Those of the arrays that went in do
        not.

        Args:
            number: Number of images.
            images: Arrays whose rows are images, parts of them, or anything else that determines them.
            targets: Arrays that determine the targets, by task.
        """
        digest, pool = digest_and_pool(images)
        return cls(number, digest, pool, {name: digest_and_pool(arrays)[0] for name, arrays in targets.items()})

    def for_tasks(self, names: Sequence[str]) -> Self:
        """Leave out the targets of other tasks, which a source may have besides."""
        return replace(self, targets={name: digest for name, digest in self.targets.items() if name in names})


@dataclass(frozen=True)
class DataIdentity:
    """Which data a study, a record or a checkpoint saw.

    Two are of the same data where splits and tasks agree. Counts of labels follow from the data, but after arithmetic
    that processors round differently; so do balanced class weights, of which a study file has the rest.

    Args:
        splits: The identities of training, validation and test split by name.
        tasks: The tasks in order, as :func:`sfgsearch.tasks.task_to_dict` writes them, without weights of classes.
        labels: How many targets are present, by split, then by task; for reports.
        is_fixed: Whether all seeds have these splits; see :class:`sfgsearch.data.MultiTaskData`.
    """

    splits: Mapping[str, SplitIdentity]
    tasks: Sequence[Mapping[str, Any]]
    labels: Mapping[str, Mapping[str, LabelCount]]
    is_fixed: bool = False

    @classmethod
    def of(cls, data: MultiTaskData) -> Self:
        """Take the identity of a data set, at about a second per gigabyte of images in memory."""
        from sfgsearch.tasks import task_to_dict  # needs torch, which an identity that is read does not

        names = [task.name for task in data.tasks]
        splits = {split: getattr(data, split).identity(names).for_tasks(names) for split in SPLIT_NAMES}
        tasks = json.loads(json.dumps([task_to_dict(task) for task in data.tasks]))
        for task in tasks:
            task.pop(_WEIGHTS, None)
        return cls(splits, tasks, data.labels, data.is_fixed)

    @cached_property
    def digest(self) -> str:
        """A short digest of splits and tasks: 16 hexadecimal digits."""
        found = self.to_dict()
        return text_digest(_as_text({name: found[name] for name in ("splits", "tasks")}))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "tasks": list(self.tasks),
            "labels": {split: dict(counts) for split, counts in self.labels.items()},
            "is_fixed": self.is_fixed,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned."""
        splits = {name: SplitIdentity(**split) for name, split in data["splits"].items()}
        labels = {
            split: {task: LabelCount(*count) for task, count in by.items()} for split, by in data["labels"].items()
        }
        return cls(splits, data["tasks"], labels, data["is_fixed"])


def describe_change(before: DataIdentity, now: DataIdentity) -> str | None:
    """Say in one line what differs between two identities; None where their digests are equal."""
    return "; ".join(_changes(before, now)) or None


def _changes(before: DataIdentity, now: DataIdentity) -> Iterator[str]:
    yield from _task_changes(before.tasks, now.tasks)
    pairs = {name: (before.splits[name], now.splits[name]) for name in SPLIT_NAMES}
    for name, (old, new) in pairs.items():
        if old.number != new.number:
            yield f"{new.number} {name} images instead of {old.number}"
    if _total(before) != _total(now):
        return  # with rows that came or went, the rest moves as well
    if _pool(before) == _pool(now) and any(old.images != new.images for old, new in pairs.values()):
        yield "the same images are divided over the splits, or ordered, in another way"
        return
    same_size = {name: pair for name, pair in pairs.items() if pair[0].number == pair[1].number}
    other_images = [name for name, (old, new) in same_size.items() if old.images != new.images]
    if other_images:
        yield f"other pixels in {_listed(other_images)} images"
    tasks = [task["name"] for task in now.tasks]
    common = [task for task in tasks if all(task in old.targets for old, _ in pairs.values())]
    yield from _shortened([change for task in common for change in _target_changes(task, same_size)])


def _target_changes(task: str, pairs: Mapping[str, tuple[SplitIdentity, SplitIdentity]]) -> list[str]:
    splits = [name for name, (old, new) in pairs.items() if old.targets[task] != new.targets[task]]
    return [f"other targets of task {task!r} in {_listed(splits)}"] if splits else []


def _task_changes(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = [[str(task["name"]) for task in tasks] for tasks in (before, now)]
    if names[0] != names[1]:
        yield f"the tasks are {_quoted(names[1])} instead of {_quoted(names[0])}"
        return
    changes = [
        _describe(name, key, old.get(key), new.get(key))
        for name, old, new in zip(names[0], before, now, strict=True)
        for key in {**old, **new}
        if _as_text(old.get(key)) != _as_text(new.get(key))
    ]
    yield from _shortened(changes)


def _describe(task: str, key: str, old: Any, new: Any) -> str:
    if key == "num_classes":
        return f"task {task!r} has {new} classes instead of {old}"
    if key == "classes":
        old, new = _quoted(old or ()), _quoted(new or ())
        return f"the classes of task {task!r} are {new or 'indices'} instead of {old or 'indices'}"
    if len(repr(old)) + len(repr(new)) > _LONGEST_SHOWN:
        return f"another {key} of task {task!r}"
    return f"{key} of task {task!r} is {new!r} instead of {old!r}"


def _as_text(value: Any) -> str:
    """Return JSON that is the same where values are; 1 and 1.0 are two, as they are for a digest."""
    return json.dumps(value, sort_keys=True)


def _quoted(names: Iterable[Any]) -> str:
    text = ", ".join(map(repr, names))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}.."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _shortened(parts: list[str]) -> list[str]:
    rest = len(parts) - _MOST_NAMED
    return [*parts[:_MOST_NAMED], f"{rest} more of this kind"] if rest > 0 else parts


def _total(identity: DataIdentity) -> int:
    return sum(split.number for split in identity.splits.values())


def _pool(identity: DataIdentity) -> int:
    return sum(split.pool for split in identity.splits.values()) % 2**64
