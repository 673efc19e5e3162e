"""Splitting a total of trials over the kinds."""

from __future__ import annotations

from sfgsearch._apportion import apportion


def split_trials(trials: int, learned: int, searched: int, manual: int) -> tuple[int, int, int]:
    """Split a total over kinds in proportion to their quotas, every wanted kind getting one as long as there are any.

    There are only so many manual candidates; what they leave goes to the other kinds.
    """
    wanted = [learned, searched, manual]
    first = [0, 0, 0]
    for kind in range(3):
        first[kind] = int(wanted[kind] > 0 and sum(first) < trials)
    counts = _add_in_proportion(first, trials - sum(first), wanted)
    if counts[2] > manual and learned + searched:
        first[2] = manual
        counts = _add_in_proportion(first, trials - sum(first), [learned, searched, 0])
    return counts[0], counts[1], min(counts[2], manual)


def _add_in_proportion(counts: list[int], rest: int, quotas: list[int]) -> list[int]:
    weights = [max(quota - 1, 0) for quota in quotas]
    if not any(quotas):
        return counts
    if not any(weights):
        weights = quotas
    return [count + extra for count, extra in zip(counts, apportion(rest, weights), strict=True)]
