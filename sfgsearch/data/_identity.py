"""Which data a study saw: digests of images and targets by split, and the tasks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256  # 0.6 s per gigabyte where processors have instructions for it, 2 s elsewhere
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sfgsearch._choices import SPLIT_NAMES

if TYPE_CHECKING:
    from torch import Tensor

    from sfgsearch.data._splits import MultiTaskData

T = TypeVar("T")
Array: TypeAlias = "Tensor | NDArray[Any]"

_DIGITS = 16
_PART_BYTES = 2**24
_WORD = np.dtype(np.uint64)
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_WORD_WEIGHTS = (2 * np.arange(2**16, dtype=_WORD) + np.uint64(1)) * _MIXER
_LONGEST_SHOWN, _MOST_NAMED = 60, 3


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
        """Take the digests of arrays that determine ``number`` images, and of those that determine targets, by task.

        These are images and targets themselves or, where processors round differently what is computed, as by
        interpolation or means, the arrays that they were computed from.
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
        splits = {name: split.identity(names).for_tasks(names) for name, split in data.splits.items()}
        tasks = json.loads(json.dumps([task_to_dict(task) for task in data.tasks]))
        for task in tasks:
            task.pop("class_weights", None)
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
    """Describe in one line what differs between two identities; None where their digests are equal."""
    return "; ".join([*_task_changes(before.tasks, now.tasks), *_split_changes(before, now)]) or None


def _split_changes(before: DataIdentity, now: DataIdentity) -> Iterator[str]:
    pairs = {name: (before.splits[name], now.splits[name]) for name in SPLIT_NAMES}
    for name, (old, new) in pairs.items():
        if old.number != new.number:
            yield f"{new.number} {name} images instead of {old.number}"
    totals, pools = (
        [sum(getattr(split, field) for split in splits) for splits in zip(*pairs.values(), strict=True)]
        for field in ("number", "pool")
    )
    if totals[0] != totals[1]:
        return  # with rows that came or went, the rest moves as well
    if (pools[0] - pools[1]) % 2**64 == 0 and any(old.images != new.images for old, new in pairs.values()):
        yield "the same images are divided over the splits, or ordered, in another way"
        return
    pairs_of_a_size = {name: pair for name, pair in pairs.items() if pair[0].number == pair[1].number}
    if others := [name for name, (old, new) in pairs_of_a_size.items() if old.images != new.images]:
        yield f"other pixels in {_listed(others)} images"
    changes = []
    for task in (task["name"] for task in now.tasks):
        if all(task in old.targets for old, _ in pairs.values()):
            splits = [name for name, (old, new) in pairs_of_a_size.items() if old.targets[task] != new.targets[task]]
            changes += [f"other targets of task {task!r} in {_listed(splits)}"] if splits else []
    yield from _shortened(changes)


def _task_changes(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    names = [[str(task["name"]) for task in tasks] for tasks in (before, now)]
    if names[0] != names[1]:
        return [f"the tasks are {_quoted(names[1])} instead of {_quoted(names[0])}"]
    return _shortened(
        [
            _describe(name, key, old.get(key), new.get(key))
            for name, old, new in zip(names[0], before, now, strict=True)
            for key in {**old, **new}
            if _as_text(old.get(key)) != _as_text(new.get(key))
        ]
    )


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


def text_digest(text: str) -> str:
    """Return the digest of a text: 16 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()[:_DIGITS]


def array_digest(array: Array) -> str:
    """Return the digest of the values, shape and type of an array: 16 hexadecimal digits."""
    return digest_and_pool([array])[0]


def digest_and_pool(arrays: Iterable[Array]) -> tuple[str, int]:
    """Return the digest of arrays, and a checksum of their rows that is the same in any order."""
    digest, pool = sha256(), 0
    for values in arrays:
        array = np.atleast_1d(values if isinstance(values, np.ndarray) else values.numpy(force=True))
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for part, hashes in _by_parts(array, lambda rows: (sha256(rows.data).digest(), _hash(rows))):
            digest.update(part)
            pool += int(hashes.sum(dtype=_WORD))
    return digest.hexdigest()[:_DIGITS], pool % 2**64


def row_hashes(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of the bytes of every row; rows that differ may, if seldom, have the same."""
    return np.concatenate([np.empty(0, _WORD), *_by_parts(array, _hash)])


def _by_parts(array: NDArray[Any], measure: Callable[[NDArray[np.uint8]], T]) -> Iterable[T]:
    """Measure every few megabytes of rows, as bytes, in threads: hashing frees the GIL."""
    width = array[:1].nbytes
    step = max(_PART_BYTES // max(width, 1), 1)

    def take(start: int) -> T:
        part = np.ascontiguousarray(array[start : start + step])
        return measure(part.reshape(len(part), -1).view(np.uint8))

    starts = range(0, len(array) if width else 0, step)
    if len(starts) < 2:
        return map(take, starts)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(take, starts))


def _hash(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a hash of each row: weighted words, added up and mixed."""
    number, width = rows.shape
    block = min(max(width // _WORD.itemsize, 1), len(_WORD_WEIGHTS))
    whole = width - width % (block * _WORD.itemsize)
    rest = np.pad(rows[:, whole:], ((0, 0), (0, (whole - width) % _WORD.itemsize))).view(_WORD)
    sums: NDArray[np.uint64] = np.einsum(
        "ikj,j->i", rows[:, :whole].view(_WORD).reshape(number, -1, block), _WORD_WEIGHTS[:block]
    )
    sums += np.einsum("ij,j->i", rest, _WORD_WEIGHTS[: rest.shape[1]])
    sums ^= sums >> np.uint64(29)
    sums *= _MIXER
    return sums ^ (sums >> np.uint64(32))
