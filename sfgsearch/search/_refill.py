"""Completing the plan of a study while workers are at it."""

from __future__ import annotations

import optuna

from sfgsearch.config import Config
from sfgsearch.search._queue import enqueue_missing
from sfgsearch.search._study import as_planned, planning


def refill(study: optuna.Study, config: Config) -> int:
    """Enqueue what a study lacks to meet its quotas, in one process at a time.

    Args:
        study: The study.
        config: Says the quotas.

    Returns:
        How many trials were enqueued.
    """
    with planning(study):
        return enqueue_missing(study, as_planned(study, config))
