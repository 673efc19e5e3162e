"""Dividing rows into training, validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfgsearch.errors import DataError

SPLIT_NAMES = ("train", "validation", "test")
Members = NDArray[np.int64]
Parts = tuple[Members, Members, Members]
"""The rows of training, validation and test."""


def partition(
    number: int,
    seed: int,
    shares: Sequence[float],
    groups: NDArray[Any] | None = None,
    names: NDArray[Any] | None = None,
) -> Parts:
    """Divide rows by names that are given, else at random by shares.

    Args:
        number: How many rows there are.
        seed: Fixes the division by shares.
        shares: Of training, validation and test; they sum to one.
        groups: Rows of equal values stay in one split, such as the images of a patient; shape (N,).
        names: The split of every row, ``"train"``, ``"validation"`` or ``"test"``; shape (N,).

    Returns:
        The rows of each split, in ascending order.

    Raises:
        DataError: If shares are none, a name is unknown, a group is in two of the named splits, or a split is empty.
    """
    if len(shares) != len(SPLIT_NAMES) or min(shares) <= 0 or not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
        raise DataError(f"shares must be three numbers > 0 that sum to one, got {list(shares)}")
    if names is not None:
        places = _by_name(names.astype(str))  # npz files may hold text as bytes
        if groups is not None:
            _check_groups(groups, places)
    else:
        _, members = (None, np.arange(number)) if groups is None else np.unique(groups, return_inverse=True)
        places = _by_shares(members, seed, shares)[members]
    parts = tuple(np.flatnonzero(places == place) for place in range(len(SPLIT_NAMES)))
    for split, part in zip(SPLIT_NAMES, parts, strict=True):
        if not len(part):
            what = "images" if groups is None else "groups"
            raise DataError(f"the {split} split is empty; give it {what}, or change how data are split")
    return parts[0], parts[1], parts[2]


def _by_name(names: NDArray[Any]) -> Members:
    unknown = sorted(set(names.tolist()) - set(SPLIT_NAMES))
    if unknown:
        raise DataError(f"the split {unknown[0]!r} is unknown; allowed: {', '.join(map(repr, SPLIT_NAMES))}")
    return np.array([SPLIT_NAMES.index(name) for name in names.tolist()])


def _check_groups(groups: NDArray[Any], places: Members) -> None:
    for group in np.unique(groups):
        if len(set(places[groups == group])) > 1:
            raise DataError(f"the group {group!s} is in more than one split; keep its rows in one, or drop groups")


def _by_shares(members: Members, seed: int, shares: Sequence[float]) -> Members:
    """Return the split of every group.

    Groups come in random order, and each goes where most images are still lacking; the last ones go to splits that
    would have none.
    """
    sizes = np.bincount(members)
    lacking = len(members) * np.array(shares)
    places, counts = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(shares), dtype=np.int64)
    for done, group in enumerate(np.random.default_rng(seed).permutation(len(sizes))):
        empty = np.flatnonzero(counts == 0)
        must_fill = len(sizes) - done <= len(empty)
        place = empty[0] if must_fill else int(lacking.argmax())
        places[group] = place
        lacking[place] -= sizes[group]
        counts[place] += 1
    return places
