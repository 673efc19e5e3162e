"""Whole numbers in given proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence


def apportion(total: int, proportions: Sequence[float]) -> list[int]:
    """Split ``total`` into whole numbers by the largest-remainder method (Hamilton's).

    Args:
        total: What is split, at least zero.
        proportions: Non-negative weights, not all zero; they need not sum to one.

    Returns:
        One count per proportion; they sum to ``total`` and each is within one of its exact share.
    """
    weight = math.fsum(proportions)
    shares = [total * proportion / weight for proportion in proportions]
    counts = [math.floor(share + 1e-9) for share in shares]
    # Remainders that arithmetic alone tells apart are ties.
    by_remainder = sorted(range(len(shares)), key=lambda index: round(counts[index] - shares[index], 9))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
