"""Waiting for something to do, at the price of one small question at a time."""

from __future__ import annotations

import optuna

from sfgsearch.search._unfinished import Unfinished, unfinished_trials
from sfgsearch.workers._claims import Claims

_TRIALS_EVERY = 4
"""Of so many questions one is for trials."""


class Watch:
    """Tells a worker that found nothing to do whether it is worth looking again, which reads the whole study.

    Whatever workers begin and end shows in the jobs: who holds which, and which of them got on. That is what most
    questions are for; they also show whether a worker gives no sign of life any more. Trials that are enqueued from
    outside do not show there, so that some questions are for trials that run or wait.

    Args:
        study: The study.
        claims: Takes jobs for the worker.
    """

    def __init__(self, study: optuna.Study, claims: Claims) -> None:
        self._study, self._claims = study, claims
        self._asked = 0
        self._held: frozenset[tuple[str, str, bool]] | None = None
        self._trials: list[Unfinished] = []

    def begin(self) -> None:
        """Forget what was seen before the worker found nothing to do: much may have happened since."""
        self._held = None

    def has_news(self) -> bool:
        """Ask one question; False if the answer is what it was before, and no job has become free by silence."""
        self._asked += 1
        if self._asked % _TRIALS_EVERY == 0:
            before, self._trials = self._trials, unfinished_trials(self._study, 1)
            return self._trials != before
        known, self._held = self._held, self._claims.held()
        return self._held != known or self._claims.any_silent
