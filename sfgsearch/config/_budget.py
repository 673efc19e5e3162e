"""Splitting a total of trials over the strategies."""

from __future__ import annotations

from collections.abc import Mapping

from sfgsearch._apportion import apportion

_PRECEDENCE = ("learned", "searched", "manual", "refined")


def split_trials(trials: int, quotas: Mapping[str, int]) -> dict[str, int]:
    """Split a total over strategies in proportion to their quotas, each getting one as long as there are any.

    There are only so many manual candidates; what they leave goes to the other strategies.

    Args:
        trials: The total.
        quotas: Learned, searched, refined and manual trials.
    """
    first: dict[str, int] = {}
    for strategy in _PRECEDENCE:
        first[strategy] = int(quotas[strategy] > 0 and sum(first.values()) < trials)
    counts = _add_in_proportion(first, trials, quotas)
    others = {**quotas, "manual": 0}
    if counts["manual"] > quotas["manual"] and any(others.values()):
        counts = _add_in_proportion({**first, "manual": quotas["manual"]}, trials, others)
    counts["manual"] = min(counts["manual"], quotas["manual"])
    return {strategy: counts[strategy] for strategy in quotas}


def _add_in_proportion(counts: Mapping[str, int], trials: int, quotas: Mapping[str, int]) -> dict[str, int]:
    weights = {strategy: max(quotas[strategy] - 1, 0) for strategy in counts}
    if not any(quotas.values()):
        return dict(counts)
    if not any(weights.values()):
        weights = {strategy: quotas[strategy] for strategy in counts}
    extra = apportion(trials - sum(counts.values()), list(weights.values()))
    return {strategy: counts[strategy] + more for strategy, more in zip(counts, extra, strict=True)}
