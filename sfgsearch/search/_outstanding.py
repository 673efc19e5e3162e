"""Trials that a study lacks of its plan: those that failed for good, and those that are still to be trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import Config
from sfgsearch.records import KIND
from sfgsearch.search._attributes import strategy_of_trial
from sfgsearch.search._queue import Entry, QuotaTracker, enqueue, plan


@dataclass(frozen=True)
class Outstanding:
    """The trials that a study asks for and does not have.

    Args:
        given_up: Those that failed for good.
        by_strategy: How many of each strategy are still to be trained.
    """

    given_up: list[FrozenTrial]
    by_strategy: Counter[str]

    @property
    def unfinished(self) -> int:
        """How many are still to be trained."""
        return self.by_strategy.total()


def outstanding_trials(trials: Sequence[FrozenTrial], config: Config) -> Outstanding:
    """Return what a study lacks of its plan, and of the trials that a user enqueued.

    Args:
        trials: All trials of the study.
        config: Says the quotas.
    """
    tracker = QuotaTracker(trials, config.execution.retries)
    given_up, unfinished = [], Counter[str]()
    for trial in trials:
        if tracker.is_extra(trial):
            given_up += [trial] * tracker.is_given_up(trial)
            unfinished[str(strategy_of_trial(trial))] += not trial.state.is_finished() or tracker.is_retried(trial)
    for (kind, _, is_refined), (lost, number) in _open_slots(trials, config, tracker).items():
        given_up += lost
        unfinished["refined" if is_refined else str(kind)] += number
    return Outstanding(sorted(given_up, key=lambda trial: trial.number), unfinished)


def _open_slots(
    trials: Sequence[FrozenTrial], config: Config, tracker: QuotaTracker
) -> dict[Any, tuple[list[FrozenTrial], int]]:
    """Return by slot of the plan the trials that failed for good, and how many are still to be trained."""
    done, failed = Counter[Any](), defaultdict[Any, list[FrozenTrial]](list)
    for trial in trials:
        if tracker.is_extra(trial):
            continue
        if tracker.is_given_up(trial):
            failed[Entry.of(trial).slot].append(trial)
        else:
            done[Entry.of(trial).slot] += trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    found = {}
    for slot, wanted in Counter(entry.slot for entry in plan(config)).items():
        lacking = max(wanted - done[slot], 0)
        lost = failed[slot][:lacking]
        found[slot] = lost, lacking - len(lost)
    return found


def waits_for_learned(trials: Sequence[FrozenTrial], config: Config) -> bool:
    """Return whether refined trials must not begin yet: learned trials are still to be trained.

    Those that failed for good are not waited for, nor those that a user enqueued beside the plan. So what refined
    trials start from does not depend on when they begin.

    Args:
        trials: All trials of the study.
        config: Says the quotas.
    """
    slots = _open_slots(trials, config, QuotaTracker(trials, config.execution.retries))
    return slots.get(Entry({KIND: "learned"}).slot, ([], 0))[1] > 0


def retry_given_up(study: optuna.Study, config: Config) -> int:
    """Enqueue again the trials that a study asks for and that failed for good, and return how many there were.

    Of several processes only one may do this at a time.
    """
    trials = study.get_trials(deepcopy=False)
    tracker = QuotaTracker(trials, config.execution.retries)
    given_up = outstanding_trials(trials, config).given_up
    for trial in given_up:
        enqueue(study, tracker.retry(trial))
    return len(given_up)
