"""The queue: how every kind gets its quota of trials.

A study's plan stands in the study itself, as waiting trials that fix the kind and leave the rest to the sampler.
Optuna hands each of them out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import Config
from sfgsearch.search._space import KIND

FAILURE = "failure"
"""User attribute: why a trial failed for good."""

REPAIRS = "repairs"
"""User attribute: which filters were moved for lack of input, or left out for lack of readers."""

MANUAL_NAME = "manual_name"
"""User attribute: which manual candidate a trial is. Not a parameter, whose choices could never grow."""


@dataclass(frozen=True)
class _Entry:
    """A trial to enqueue: parameters that are fixed, and for manual ones the candidate's name."""

    params: dict[str, Any]
    manual_name: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> _Entry:
        """Return the entry of an existing trial; a waiting one has its parameters yet to take up."""
        return cls({**trial.system_attrs.get("fixed_params", {}), **trial.params}, trial.user_attrs.get(MANUAL_NAME))

    @property
    def place(self) -> tuple[Any, str | None]:
        """What the entry counts as: one of its kind, or this manual candidate."""
        return self.params.get(KIND), self.manual_name


def _counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial fills its place: it finished, will run, is running, or failed for a reason of its own."""
    return trial.state is not TrialState.FAIL or FAILURE in trial.user_attrs


def _plan(config: Config) -> Iterator[_Entry]:
    """Yield the trials of a study: manual ones first, then learned and searched in turn."""
    budget = config.budget
    for name in config.manual.names[: budget["manual"]]:
        yield _Entry({KIND: "manual"}, name)
    learned, searched = ([_Entry({KIND: kind})] * budget[kind] for kind in ("learned", "searched"))
    yield from (entry for entry in chain.from_iterable(zip_longest(learned, searched)) if entry)


def enqueue_missing(study: optuna.Study, config: Config) -> int:
    """Enqueue the trials that a study lacks to meet its quotas.

    Interrupted trials are enqueued again with the parameters they had; trials that failed for a reason of their
    own (a loss that was not finite) are not.

    Args:
        study: The study.
        config: Says the quotas.

    Returns:
        How many trials were enqueued.
    """
    trials = study.get_trials(deepcopy=False)
    present = Counter(_Entry.of(trial).place for trial in trials if _counts(trial))
    interrupted = _interrupted(trials)
    enqueued = 0
    for entry in _plan(config):
        if present[entry.place]:
            present[entry.place] -= 1
            continue
        again = next((old for old in interrupted if old.place == entry.place), None)
        if again is not None:
            interrupted.remove(again)
            entry = again
        attributes = {MANUAL_NAME: entry.manual_name} if entry.manual_name else None
        study.enqueue_trial(entry.params, user_attrs=attributes)
        enqueued += 1
    return enqueued


def drop_surplus(study: optuna.Study, config: Config) -> int:
    """Fail waiting trials that a study no longer asks for: a lower budget, or a manual candidate that is gone.

    Args:
        study: The study.
        config: Says the quotas.

    Returns:
        How many waiting trials were dropped.
    """
    wanted = Counter(entry.place for entry in _plan(config))
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.state is TrialState.WAITING)
    dropped = 0
    for trial in trials:
        place = _Entry.of(trial).place
        if not _counts(trial):
            continue
        wanted[place] -= 1
        if wanted[place] < 0 and trial.state is TrialState.WAITING:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
            dropped += 1
    return dropped


def _interrupted(trials: list[FrozenTrial]) -> list[_Entry]:
    """Return the interrupted trials that no later trial took up."""
    taken = [_Entry.of(trial) for trial in trials if _counts(trial)]
    entries = [_Entry.of(trial) for trial in trials if not _counts(trial) and trial.params]
    return [entry for entry in entries if entry not in taken]


def next_manual(study: optuna.Study | None, names: Sequence[str]) -> str:
    """Return the manual candidate that the fewest trials of a study have taken, the first of several."""
    trials = study.get_trials(deepcopy=False) if study else []
    taken = Counter(trial.user_attrs.get(MANUAL_NAME) for trial in trials if _counts(trial))
    return min(names, key=lambda name: taken[name])


def waiting_trials(study: optuna.Study) -> int:
    """Return how many enqueued trials have not started."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def fail_running(study: optuna.Study) -> int:
    """Mark trials that a dead process left running as failed, so that they can be enqueued again.

    Only the sole process of a study may do this.

    Returns:
        How many there were.
    """
    stale = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in stale:
        study.tell(trial.number, state=TrialState.FAIL)
    return len(stale)
