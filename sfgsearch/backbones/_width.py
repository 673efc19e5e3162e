"""Scaling a backbone's filters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sfgsearch.errors import BackboneError


def widen(filters: Sequence[int], width: float) -> list[int]:
    """Return the filters of every layer times a factor, rounded, at least one.

    Raises:
        BackboneError: If the factor is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise BackboneError(f"width must be positive and finite, got {width}")
    return [max(1, round(count * width)) for count in filters]
