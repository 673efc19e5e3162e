"""Scaling a backbone's filters."""

from __future__ import annotations

from collections.abc import Sequence

from sfgsearch.errors import BackboneError

_LEAST, _MOST = 1e-3, 100.0


def widen(filters: Sequence[int], width: float) -> list[int]:
    """Return the filters of every layer times a factor, rounded, at least one.

    Raises:
        BackboneError: If the factor is not from 0.001 to 100.
    """
    if not _LEAST <= width <= _MOST:
        raise BackboneError(f"width must be from {_LEAST:g} to {_MOST:g}, got {width}")
    return [max(1, round(count * width)) for count in filters]
