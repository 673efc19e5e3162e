"""Division of images and targets of all rows into training, validation and test; copies of an image stay together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array, hstack
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.data._files import bad_rows
from sfgsearch.data._identity import row_hashes
from sfgsearch.data._labels import check_seen
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.data._stratification import stratify
from sfgsearch.data._task_tables import normalise
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING, Task, is_present

Members = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """The way in which rows are divided: by names that are given, else at random by shares.

    Args:
        seed: Fixes the division by shares.
        shares: Of training, validation and test; they sum to one.
        groups: Rows of equal values stay in one split, such as the images of a patient, and ``"3"`` equals ``"3.0"``;
            shape (N,).
        names: The split of every row, ``"train"``, ``"validation"`` or ``"test"``; shape (N,).

    Raises:
        DataError: If shares are none, or a name is unknown.
    """

    seed: int
    shares: Sequence[float] = (0.7, 0.15, 0.15)
    groups: NDArray[Any] | None = None
    names: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        shares = self.shares
        if len(shares) != len(SPLIT_NAMES) or min(shares) <= 0 or not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
            raise DataError(f"shares must be three numbers > 0 that sum to one, got {list(shares)}")
        unknown = set() if self.names is None else set(self.names.astype(str).tolist()) - set(SPLIT_NAMES)
        if unknown:
            raise DataError(f"the split {min(unknown)!r} is unknown; allowed: {', '.join(map(repr, SPLIT_NAMES))}")

    @cached_property
    def normalised_groups(self) -> NDArray[Any] | None:
        """The groups, a number in text always written in the same way."""
        if self.groups is None or self.groups.dtype.kind not in "USO":
            return self.groups
        return np.array([normalise(text) for text in self.groups.astype(str).tolist()])


def assemble(
    images: Tensor,
    encoded: Sequence[tuple[Tensor, Task]],
    division: Division,
    rows: Sequence[str],
    notes: Sequence[str] = (),
) -> MultiTaskData:
    """Divide images with their targets into splits.

    A division by shares gives every class, and the images that have a target of a task at all, about the same shares,
    and puts every class into training.

    Args:
        images: Shape (N, C, *space).
        encoded: The tasks, in order, with their targets of shape (N,) or (N, *space); missing ones are NaN or -1.
        division: How rows are divided.
        rows: Names of rows in errors and notes.
        notes: Sentences that a user should read.

    Raises:
        DataError: If rows cannot be divided so, or a class is in validation or test but not in training.
    """
    equal = identify(images)
    held = [_held(target) for target, _ in encoded]
    labels = hstack([column for one in held for column in (one, _as_column(one.sum(axis=1) > 0))], format="csr")
    train, validation, test = (
        InMemory(images[part], {task.name: target[part] for target, task in encoded})
        for part in map(torch.from_numpy, partition(division, equal, labels, rows))
    )
    notes = (*notes, *describe_copies(equal, rows))
    tasks = tuple(task for _, task in encoded)
    data = MultiTaskData(tasks, train, validation, test, notes, is_fixed=division.names is not None)
    check_seen(data, [task for target, task in encoded if not target.is_floating_point()])
    return data


def _held(target: Tensor) -> csr_array:
    """Return as ones which classes a row has, shape (N, classes); of quantities, whether it has any, shape (N, 1)."""
    if target.is_floating_point():
        return _as_column(is_present(target).reshape(len(target), -1).any(1).numpy())
    classes = target.numpy()
    if classes.ndim == 1:
        rows = np.flatnonzero(classes != MISSING)
        columns = classes[rows]
    else:
        found = [np.flatnonzero(np.bincount(one[one != MISSING])) for one in classes]
        rows, columns = np.repeat(np.arange(len(classes)), [len(one) for one in found]), np.concatenate(found)
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(target), int(columns.max(initial=0)) + 1))


def _as_column(values: NDArray[np.bool_]) -> csr_array:
    return csr_array(values.astype(float)[:, None])


def identify(images: Tensor) -> Members:
    """Return a number for every image (N, C, *space), the same for images that are equal byte for byte."""
    array = images.numpy()
    _, firsts, members = np.unique(row_hashes(array), return_index=True, return_inverse=True)
    like, others = firsts[members], dict[bytes, int]()
    for row in np.flatnonzero(like != np.arange(len(like))).tolist():
        content = array[row].tobytes()
        if content != array[like[row]].tobytes():
            like[row] = others.setdefault(content, row)
    return number(like)


def number(keys: ArrayLike) -> Members:
    """Return a number for every key, the same for equal ones; from 0 on, in the order in which they first occur."""
    _, firsts, members = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    return np.unique(firsts[members], return_inverse=True)[1].astype(np.int64)


def describe_copies(images: Members, rows: Sequence[str]) -> list[str]:
    """Return a sentence that counts images which are copies of others by :func:`identify`, if there are any."""
    numbers, counts = np.unique(images, return_counts=True)
    if (counts == 1).all():
        return []
    copied = numbers[counts > 1]
    example = " and ".join(rows[index] for index in np.flatnonzero(images == copied[0])[:2])
    return [
        f"{len(images) - len(numbers)} of {len(images)} images are copies of others, byte for byte, such as {example}; "
        "each stays in the split of the other"
    ]


def partition(division: Division, images: Members, labels: csr_array, rows: Sequence[str]) -> list[Members]:
    """Divide rows into splits; equal images stay together, and so do groups.

    Args:
        division: How.
        images: Equal where two rows have the same image; shape (N,).
        labels: Which labels a row has, as ones, such as its class in each task; a split by shares has about those
            shares of each. Shape (N, labels).
        rows: Names of rows in errors.

    Returns:
        The rows of each split, in ascending order.

    Raises:
        DataError: If names would part a group or equal images, or a split is empty.
    """
    if division.names is not None:
        names = division.names.astype(str)  # npz files may hold text as bytes
        splits = np.array([SPLIT_NAMES.index(name) for name in names.tolist()])
        _check_together(division, images, splits, rows)
    else:
        groups = division.normalised_groups
        units = _join(images) if groups is None else _join(images, groups)
        splits = stratify(units, labels, division.shares, division.seed)
    parts = [np.flatnonzero(splits == split) for split in range(len(SPLIT_NAMES))]
    for name, part in zip(SPLIT_NAMES, parts, strict=True):
        if not len(part):
            needed = "images" if division.groups is None else "groups"
            raise DataError(
                f"the {name} split is empty; give it {needed}, or change how data are split. Copies of one image stay "
                "together, and every class is in training"
            )
    return parts


def _join(*columns: NDArray[Any]) -> Members:
    """Number groups of rows that have an equal value in any column, directly or through others."""
    rows = np.arange(len(columns[0]))
    members = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in columns]
    nodes = np.concatenate([one + len(rows) * index for index, one in enumerate(members, start=1)])
    shape = (len(rows) * (1 + len(columns)),) * 2
    graph = coo_array((np.ones(len(nodes)), (np.tile(rows, len(columns)), nodes)), shape=shape)
    return connected_components(graph, directed=False)[1][: len(rows)].astype(np.int64)


def _check_together(division: Division, images: Members, splits: Members, rows: Sequence[str]) -> None:
    """Refuse a group, or copies of an image, in more than one of the named splits."""
    groups = division.normalised_groups
    if groups is not None and (parted := _parted(groups, splits)):
        group = groups[parted[0][0]]
        raise DataError(f"the group {group!s} is in more than one split; keep its rows in one, or drop groups")
    problems = [
        " equals ".join(f"{rows[row]} in {SPLIT_NAMES[splits[row]]}" for row in members)
        for members in _parted(images, splits)
    ]
    if problems:
        raise bad_rows(problems, "put copies of an image, byte for byte, into one split or leave them out")


def _parted(keys: NDArray[Any], splits: Members) -> list[list[int]]:
    """Return the rows of each key whose rows are in more than one split."""
    numbers = np.unique(keys, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([numbers, splits]), axis=1)
    parted = np.flatnonzero(np.bincount(pairs[0]) > 1)
    return [np.flatnonzero(numbers == number).tolist() for number in parted]
