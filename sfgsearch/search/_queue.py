"""The queue: how every kind gets its quota of trials.

A study's plan stands in the study itself, as waiting trials that fix the kind and leave the rest to the sampler.
Optuna hands each of them out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import Config
from sfgsearch.search._space import KIND

FAILURE = "failure"
"""User attribute: why a trial failed."""

RETRY_WITH = "retry_with"
"""User attribute of a failed trial: what may help, ``"same"`` or ``"other"`` parameters, or ``"nothing"``."""

RETRY_OF, RETRIES = "retry_of", "retries"
"""User attributes of a trial that tries a failed one again: that one's number, and how many times this makes."""

MANUAL_NAME = "manual_name"
"""User attribute: which manual candidate a trial is. Not a parameter, whose choices could never grow."""


@dataclass(frozen=True)
class _Entry:
    """A trial to enqueue: parameters that are fixed, for manual ones the candidate's name, and what it tries again."""

    params: dict[str, Any]
    manual_name: str | None = None
    retry_of: int | None = field(default=None, compare=False)
    retries: int = field(default=0, compare=False)

    @classmethod
    def of(cls, trial: FrozenTrial) -> _Entry:
        """Return the entry of an existing trial; a waiting one has its parameters yet to take up."""
        return cls({**trial.system_attrs.get("fixed_params", {}), **trial.params}, trial.user_attrs.get(MANUAL_NAME))

    @property
    def place(self) -> tuple[Any, str | None]:
        """What the entry counts as: one of its kind, or this manual candidate."""
        return self.params.get(KIND), self.manual_name


class _Ledger:
    """Which trials of a study fill a place of its plan, and which failed ones will be tried again.

    Args:
        trials: All trials of the study.
        retries: How often a failed trial is tried again.
    """

    def __init__(self, trials: Sequence[FrozenTrial], retries: int = 0) -> None:
        self._retries = retries
        self._retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}

    def counts(self, trial: FrozenTrial) -> bool:
        """Tell whether a trial fills its place: it finished, will run, is running, or failed once too often."""
        if trial.state is not TrialState.FAIL:
            return True
        return FAILURE in trial.user_attrs and trial.number not in self._retried and not self.is_retried(trial)

    def is_retried(self, trial: FrozenTrial) -> bool:
        """Tell whether a trial that failed for a reason shall be tried again, and has not been yet."""
        hopeless = trial.user_attrs.get(RETRY_WITH) == "nothing"
        tried = trial.user_attrs.get(RETRIES, 0)
        open_ = FAILURE in trial.user_attrs and trial.number not in self._retried
        return trial.state is TrialState.FAIL and open_ and not hopeless and tried < self._retries

    def retry(self, trial: FrozenTrial) -> _Entry:
        """Return the entry that tries a failed trial again."""
        failed = _Entry.of(trial)
        fresh = trial.user_attrs.get(RETRY_WITH) == "other"
        params = {KIND: failed.params.get(KIND)} if fresh else failed.params
        return _Entry(params, failed.manual_name, trial.number, trial.user_attrs.get(RETRIES, 0) + 1)


def _plan(config: Config) -> Iterator[_Entry]:
    """Yield the trials of a study: manual ones first, then learned and searched in turn."""
    budget = config.budget
    for name in config.manual.names[: budget["manual"]]:
        yield _Entry({KIND: "manual"}, name)
    learned, searched = ([_Entry({KIND: kind})] * budget[kind] for kind in ("learned", "searched"))
    yield from (entry for entry in chain.from_iterable(zip_longest(learned, searched)) if entry)


def enqueue_missing(study: optuna.Study, config: Config) -> int:
    """Enqueue the trials that a study lacks to meet its quotas.

    Interrupted trials are enqueued again with the parameters they had. Trials that failed for a reason are tried again
    as often as ``execution.retries`` says: with the same parameters, or with new ones where these were the reason (a
    loss that was not finite). Of several processes only one may do this at a time.

    Args:
        study: The study.
        config: Says the quotas.

    Returns:
        How many trials were enqueued.
    """
    trials = study.get_trials(deepcopy=False)
    ledger = _Ledger(trials, config.execution.retries)
    present = Counter(_Entry.of(trial).place for trial in trials if ledger.counts(trial))
    again = [ledger.retry(trial) for trial in trials if ledger.is_retried(trial)] + _interrupted(trials, ledger)
    enqueued = 0
    for entry in _plan(config):
        if present[entry.place]:
            present[entry.place] -= 1
            continue
        old = next((old for old in again if old.place == entry.place), None)
        if old is not None:
            again.remove(old)
        _enqueue(study, old or entry)
        enqueued += 1
    return enqueued


def _enqueue(study: optuna.Study, entry: _Entry) -> None:
    attributes: dict[str, Any] = {}
    if entry.manual_name:
        attributes[MANUAL_NAME] = entry.manual_name
    if entry.retry_of is not None:
        attributes |= {RETRY_OF: entry.retry_of, RETRIES: entry.retries}
    study.enqueue_trial(entry.params, user_attrs=attributes or None)


def drop_surplus(study: optuna.Study, config: Config) -> int:
    """Fail waiting trials that a study no longer asks for: a lower budget, or a manual candidate that is gone.

    Args:
        study: The study.
        config: Says the quotas.

    Returns:
        How many waiting trials were dropped.
    """
    wanted = Counter(entry.place for entry in _plan(config))
    trials = study.get_trials(deepcopy=False)
    ledger = _Ledger(trials, config.execution.retries)
    dropped = 0
    for trial in sorted(trials, key=lambda trial: trial.state is TrialState.WAITING):
        place = _Entry.of(trial).place
        if not ledger.counts(trial):
            continue
        wanted[place] -= 1
        if wanted[place] < 0 and trial.state is TrialState.WAITING:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
            dropped += 1
    return dropped


def _interrupted(trials: list[FrozenTrial], ledger: _Ledger) -> list[_Entry]:
    """Return the interrupted trials that no later trial took up."""
    taken = [_Entry.of(trial) for trial in trials if ledger.counts(trial)]
    gone = [trial for trial in trials if trial.state is TrialState.FAIL and FAILURE not in trial.user_attrs]
    entries = [_Entry.of(trial) for trial in gone if trial.params]
    return [entry for entry in entries if entry not in taken]


def next_manual(study: optuna.Study | None, names: Sequence[str]) -> str:
    """Return the manual candidate that the fewest trials of a study have taken, the first of several."""
    trials = study.get_trials(deepcopy=False) if study else []
    ledger = _Ledger(trials)
    taken = Counter(trial.user_attrs.get(MANUAL_NAME) for trial in trials if ledger.counts(trial))
    return min(names, key=lambda name: taken[name])


def requeue(study: optuna.Study, trial_id: int) -> None:
    """Let a running trial wait again, with the parameters and intermediate values that it has."""
    study._storage.set_trial_state_values(trial_id, state=TrialState.WAITING)


def requeue_running(study: optuna.Study) -> int:
    """Let the trials wait again that dead processes left running.

    Only the sole process of a study may do this.

    Returns:
        How many there were.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        requeue(study, trial._trial_id)
    return len(running)
