"""Completing the plan of a study while workers are at it."""

from __future__ import annotations

import optuna

from sfgsearch.search._objective import Objective
from sfgsearch.search._queue import enqueue_missing
from sfgsearch.search._study import as_planned, planning


def refill(study: optuna.Study, objective: Objective) -> int:
    """Enqueue what a study lacks to meet its quotas, in one process at a time.

    Args:
        study: The study.
        objective: Its objective, whose configuration says the quotas.

    Returns:
        How many trials were enqueued.
    """
    with planning(study):
        return enqueue_missing(study, as_planned(study, objective.config), objective.space.warm_starts())
