"""Dividing rows by shares so that every label has about those shares too."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, hstack

_ROUNDING, _DIGITS = 1e-9, 6
_TRAINING = 0


def stratify(units: NDArray[np.int64], labels: csr_array, shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Divide rows at random, keeping units whole: iterative stratification (Sechidis et al., ECML 2011).

    The label with the fewest units that wait is served first. Each of its units goes where the label still has room
    for it by the shares; what rounding leaves over goes where most images are lacking. Beyond the paper, a label
    that few units have is in training, and in every other split if there are enough.

    Args:
        units: The unit of every row, such as its patient, numbered from zero; shape (N,).
        labels: Which labels a row has, as ones; shape (N, labels).
        shares: Of the splits, training first; they sum to one.
        seed: Fixes the order in which units come.

    Returns:
        The split of every row, of shape (N,).
    """
    rows = len(units)
    membership = coo_array((np.ones(rows), (units, np.arange(rows))))
    counts = csr_array(membership @ hstack([labels, csr_array(np.ones((rows, 1)))], format="csr"))
    waiting = _Waiting.of(counts, shares)
    columns = counts.tocsc()
    rank = np.random.default_rng(seed).permutation(counts.shape[0])
    splits = np.full(counts.shape[0], -1)
    queue = [(number, label) for label, number in enumerate(waiting.units) if number]
    heapq.heapify(queue)
    while queue:
        number, label = heapq.heappop(queue)
        if number != waiting.units[label]:  # some went with rarer labels
            if waiting.units[label]:
                heapq.heappush(queue, (waiting.units[label], label))
            continue
        having = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
        having = having[splits[having] < 0]
        for unit in having[np.argsort(rank[having])].tolist():
            own = slice(counts.indptr[unit], counts.indptr[unit + 1])
            splits[unit] = waiting.assign(label, dict(zip(counts.indices[own].tolist(), counts.data[own], strict=True)))
    return splits[units]


@dataclass(frozen=True)
class _Waiting:
    """Units that wait for a split. The last label is that of all images.

    Args:
        units: By label, how many units with it wait.
        wanted: By split and label, its share of the images.
        lacking: By split and label, the images that the split still lacks of its share.
        held: By split and label, how many units it holds.
    """

    units: list[int]
    wanted: list[list[float]]
    lacking: list[list[float]]
    held: list[list[int]]

    @classmethod
    def of(cls, counts: csr_array, shares: Sequence[float]) -> _Waiting:
        totals = counts.sum(axis=0)
        units = np.bincount(counts.indices, minlength=len(totals)).tolist()
        wanted = [(share * totals).tolist() for share in shares]
        return cls(units, wanted, [list(one) for one in wanted], [[0] * len(totals) for _ in shares])

    def assign(self, label: int, unit: dict[int, float]) -> int:
        """Choose the split of a unit (its images by label) for the label that is served, and count it there."""
        split = self._choose(label, unit)
        for one, amount in unit.items():
            self.units[one] -= 1
            self.lacking[split][one] -= amount
            self.held[split][one] += 1
        return split

    def _choose(self, label: int, unit: dict[int, float]) -> int:
        if any(self.units[one] == 1 and not self.held[_TRAINING][one] for one in unit):
            return _TRAINING
        splits = range(len(self.held))
        empty = [split for split in splits if not self.held[split][label] and self._has_room(split, unit)]
        if empty and self.units[label] <= len(empty):
            return _TRAINING if _TRAINING in empty else max(empty, key=self._behind)
        fitting = [split for split in splits if self.lacking[split][label] >= unit[label] - _ROUNDING]
        if fitting:
            return max(
                fitting, key=lambda split: sum(self.lacking[split][one] / self.wanted[split][one] for one in unit)
            )
        below = [split for split in splits if self.lacking[split][label] > _ROUNDING]
        return max(below or splits, key=lambda split: (round(self._behind(split), _DIGITS), self.lacking[split][label]))

    def _has_room(self, split: int, unit: dict[int, float]) -> bool:
        """Return whether a split has no image yet, or lacks half of the unit's at least."""
        return not self.held[split][-1] or 2 * self.lacking[split][-1] >= unit[len(self.units) - 1]

    def _behind(self, split: int) -> float:
        """Return how many images a split has less than its share of those that are assigned."""
        waiting = sum(lacking[-1] for lacking in self.lacking)
        share = self.wanted[split][-1] / sum(wanted[-1] for wanted in self.wanted)
        return self.lacking[split][-1] - share * waiting
