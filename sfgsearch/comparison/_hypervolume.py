"""The hypervolume of each kind: how much of the plane of cost and error its finalists beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfgsearch.comparison._rows import RETRAINED, Row
from sfgsearch.records import STRATEGIES

_MARGIN = 1.1


@dataclass(frozen=True)
class Hypervolume:
    """The hypervolume of a kind.

    Args:
        kind: The kind, or strategy.
        networks: How many it is of.
        value: From 0 to 1.
    """

    kind: str
    networks: int
    value: float


def hypervolumes(rows: Sequence[Row]) -> tuple[float, list[Hypervolume]]:
    """Return the hypervolume of every kind in relative error and multiply-adds, both the smaller the better.

    It is the area that the kind's retrained finalists dominate, at the study's width and at equal multiply-adds, as a
    part of the rectangle from the origin to a reference point: a relative error of one, that of a constant prediction,
    and 1.1 times the multiply-adds of the dearest finalist of any kind (Zitzler & Thiele, 1998).

    Args:
        rows: Finalists.

    Returns:
        The multiply-adds of the reference point, and one entry for each kind that has finalists.
    """
    retrained = [row for row in rows if row.inference == RETRAINED]
    reference = _MARGIN * max((row.macs for row in retrained), default=1)
    found = []
    for kind in STRATEGIES:
        points = [(row.macs / reference, row.error.mean) for row in retrained if row.strategy == kind]
        if points:
            found.append(Hypervolume(kind, len(points), _area(points)))
    return reference, found


def _area(points: Sequence[tuple[float, float]]) -> float:
    """Return the area that points below and left of (1, 1) dominate, together."""
    area, best = 0.0, 1.0
    for cost, error in sorted(points):
        if error < best:
            area += (1 - cost) * (best - max(error, 0.0))
            best = max(error, 0.0)
    return area
