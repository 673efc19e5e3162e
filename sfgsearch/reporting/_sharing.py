"""How an allocation shares its filters over depth, in words."""

from __future__ import annotations

from collections.abc import Sequence

from sfgsearch.allocation import Allocation

_LEVEL = 0.1
"""A part of the filters by which layers must differ before a trend is spoken of."""

_TREND = 0.5
"""Spearman's correlation with depth from which a trend is spoken of."""


def sharing_sentence(name: str, allocation: Allocation) -> str:
    """Return how much is shared in the first and the last layer, who has the rest, and the trend between.

    Args:
        name: What the allocation is called.
        allocation: The allocation.
    """
    parts = shared_parts(allocation)
    first, last = allocation.layers[0], allocation.layers[-1]
    if len(parts) == 1:
        return f"{name} shares {_percent(parts[0])} of the filters of its only layer, {first.name}."
    ends = (
        f"{_percent(parts[0])} of the filters in the first layer, {first.name}, and {_percent(parts[-1])} in the last"
    )
    own = ", ".join(
        f"{task} {_percent(count / last.num_filters)}"
        for task, count in zip(allocation.tasks, last.counts, strict=False)
    )
    rest = f", where the rest goes to {own}" if last.shared < last.num_filters else ""
    return f"{name} shares {ends}, {last.name}{rest}: {_trend(parts)}."


def shared_parts(allocation: Allocation) -> list[float]:
    """Return the part of every layer's filters that is shared, in depth order."""
    return [layer.shared / layer.num_filters for layer in allocation.layers]


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _trend(parts: Sequence[float]) -> str:
    if max(parts) - min(parts) < _LEVEL:
        return "sharing is about level over depth"
    from scipy.stats import spearmanr  # takes a second to load

    correlation = float(spearmanr(range(len(parts)), parts).statistic)
    if correlation <= -_TREND:
        return "the task-specific part grows with depth"
    return "the shared part grows with depth" if correlation >= _TREND else "there is no trend over depth"
