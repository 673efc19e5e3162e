"""One map per group, of layers against something else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NAMED = (0.0, 0.05, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class GroupMaps:
    """Numbers between 0 and 1 by group, layer and position.

    Args:
        groups: The tasks in order, then shared.
        layers: In depth order.
        values: Shape (groups, layers, positions).
        edges: Where the first position begins and the last one ends.
        across: What positions are.
        quantity: What the numbers are.
        in_percent: Whether they are written in percent.
    """

    groups: tuple[str, ...]
    layers: tuple[str, ...]
    values: NDArray[np.float64]
    edges: tuple[float, float]
    across: str
    quantity: str
    in_percent: bool = False

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of every position."""
        ends = np.linspace(*self.edges, self.values.shape[2] + 1)
        return (ends[:-1] + ends[1:]) / 2

    def strength(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return how strong the colour of numbers is, from 0 for white to 1: their root, as most of them are small."""
        return np.sqrt(np.asarray(values, dtype=np.float64))

    @property
    def scale(self) -> list[tuple[float, str]]:
        """Numbers that a legend of colours names, and how it writes them."""
        return [(value, f"{100 * value:.0f} %" if self.in_percent else f"{value:g}") for value in _NAMED]
