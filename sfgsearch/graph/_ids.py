"""Ids of filters, carried by shadows of a network's tensors, and which of them are tied."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class FilterIds:
    """Filters by id, with the classes that operations tie them to (union-find).

    A *shadow* has the shape of a tensor and holds, at every position, the id of the filter that the number there comes
    from: float64, so that every operation that moves numbers runs on it. Id 0 stands for what every group may read,
    such as the image, and is tied to nothing.

    Attributes:
        ties: For every two classes that were joined, an id of the joint one and what joined them, in words.
    """

    def __init__(self) -> None:
        self._parents = [0]
        self.ties: list[tuple[int, str]] = []

    def __len__(self) -> int:
        """Return the number of ids, 0 included."""
        return len(self._parents)

    def fresh(self, count: int) -> Tensor:
        """Return ids that are new, float64 of shape (count,)."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return torch.arange(first, first + count, dtype=torch.float64)

    def find(self, identity: int) -> int:
        """Return the id that stands for the class of an id."""
        while self._parents[identity] != identity:
            self._parents[identity] = self._parents[self._parents[identity]]
            identity = self._parents[identity]
        return identity

    def tie(self, first: Tensor, second: Tensor, why: str) -> Tensor:
        """Tie the ids of two shadows position by position, broadcast, and return the shadow of the combination."""
        first, second = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        differ = (first != 0) & (second != 0) & (first != second)
        if differ.any():
            pairs = torch.unique(torch.stack([first[differ], second[differ]]), dim=1)
            for one, other in pairs.long().T.tolist():
                low, high = sorted((self.find(one), self.find(other)))
                if low != high:
                    self._parents[high] = low
                    self.ties.append((low, why))
        return torch.maximum(first, second)

    def tie_over(self, shadow: Tensor, dims: Iterable[int], why: str) -> Tensor:
        """Tie what an operation combines over dimensions, and return one id for each combination, dimensions kept."""
        dims = list(dims)
        top = shadow.amax(dims, keepdim=True) if dims and shadow.numel() else shadow
        self.tie(shadow, top, why)
        return top

    def column(self, shadow: Tensor, dim: int, why: str) -> Tensor:
        """Return the ids along one dimension, tying those at one position of it; shape (size,)."""
        lines = shadow.movedim(dim, 0).flatten(1)
        return self.tie_over(lines, [1], why)[:, 0]


def spread(column: Tensor, dim: int, shape: Iterable[int]) -> Tensor:
    """Return a shadow of some shape whose ids along one dimension are those of a column; it may be written to."""
    shape = list(shape)
    view = [1] * len(shape)
    view[dim] = -1
    return column.view(view).expand(shape).clone()
