"""Dividing rows into training, validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch.data._copies import join
from sfgsearch.data._missing_values import normalise
from sfgsearch.data._rows import bad_rows
from sfgsearch.data._stratification import stratify
from sfgsearch.errors import DataError

Members = NDArray[np.int64]
Parts = tuple[Members, Members, Members]
"""The rows of training, validation and test."""


@dataclass(frozen=True)
class Division:
    """How rows are divided: by names that are given, else at random by shares.

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
    def written_alike(self) -> NDArray[Any] | None:
        """The groups, a number in text always written in the same way."""
        if self.groups is None or self.groups.dtype.kind not in "USO":
            return self.groups
        return np.array([normalise(text) for text in self.groups.astype(str).tolist()])


def partition(division: Division, images: Members, labels: csr_array, rows: Sequence[str]) -> Parts:
    """Divide rows into splits; equal images stay together, and so do groups.

    Args:
        division: How.
        images: Equal where two rows have the same image; shape (N,).
        labels: Which labels a row has, as ones, such as its class in each task; a split by shares has about those
            shares of each. Shape (N, labels).
        rows: What to call each row in errors.

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
        units = join(images) if division.written_alike is None else join(images, division.written_alike)
        splits = stratify(units, labels, division.shares, division.seed)
    parts = tuple(np.flatnonzero(splits == split) for split in range(len(SPLIT_NAMES)))
    for name, part in zip(SPLIT_NAMES, parts, strict=True):
        if not len(part):
            needed = "images" if division.groups is None else "groups"
            raise DataError(
                f"the {name} split is empty; give it {needed}, or change how data are split. Copies of one image stay "
                "together, and every class is in training"
            )
    return parts[0], parts[1], parts[2]


def _check_together(division: Division, images: Members, splits: Members, rows: Sequence[str]) -> None:
    """Refuse a group, or copies of an image, in more than one of the named splits."""
    groups = division.written_alike
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
    _, numbers = np.unique(keys, return_inverse=True)
    pairs = np.unique(np.stack([numbers.reshape(-1), splits]), axis=1)
    parted = np.flatnonzero(np.bincount(pairs[0]) > 1)
    return [np.flatnonzero(numbers.reshape(-1) == number).tolist() for number in parted]
