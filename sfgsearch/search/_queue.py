"""The plan of a study: how every kind gets its quota of trials.

A trial of the plan is enqueued with its kind fixed and the rest left to the sampler. A worker enqueues one when it is
free, so that there are never more unfinished trials than workers; for plain ``study.optimize`` all are enqueued at
once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat, zip_longest
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch._optuna import enqueued_params, set_state
from sfgsearch.config import Config
from sfgsearch.records import KIND
from sfgsearch.search._attributes import START, params_of

FAILURE = "failure"
"""User attribute: why a trial failed."""

RETRY_WITH = "retry_with"
"""User attribute of a failed trial: what may help, ``"same"`` or ``"other"`` parameters, or ``"nothing"``."""

RETRY_OF, RETRIES = "retry_of", "retries"
"""User attributes of a trial that tries a failed one again: that one's number, and how many times this makes.

A trial that the plan asks for has made 0 retries; one that a user enqueued says nothing of them.
"""

MANUAL_NAME = "manual_name"
"""User attribute: which manual candidate a trial is. Not a parameter, whose choices could never grow."""

BEST_LEARNED = "learned"
"""Value of :data:`sfgsearch.search._attributes.START` until a refined trial begins: the best learned trials by then."""


@dataclass(frozen=True)
class Entry:
    """A trial to enqueue.

    Args:
        params: Parameters that are fixed.
        manual_name: For manual ones the candidate's name.
        retry_of: Number of the failed trial that it tries again.
        retries: How many times this makes; None for what a user enqueued.
        start: For refined ones the learned trials that it starts from, in the form of the attribute :data:`START`.
    """

    params: dict[str, Any]
    manual_name: str | None = None
    retry_of: int | None = field(default=None, compare=False)
    retries: int | None = field(default=0, compare=False)
    start: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> Entry:
        """Return the entry of an existing trial."""
        return cls(params_of(trial), trial.user_attrs.get(MANUAL_NAME), start=trial.user_attrs.get(START))

    @property
    def slot(self) -> tuple[Any, str | None, bool]:
        """The slot of the plan that the entry fills: one of its kind, this manual candidate, or a refined one."""
        return self.params.get(KIND), self.manual_name, self.start is not None


class QuotaTracker:
    """Tells which trials of a study fill a slot of its plan, which are tried again, and which are given up.

    A trial that a user enqueued beside the plan, and what tries it again, is an extra: it fills no slot.

    Args:
        trials: All trials of the study.
        retries: How often a failed trial is tried again.
    """

    def __init__(self, trials: Sequence[FrozenTrial], retries: int = 0) -> None:
        self._retries = retries
        self._retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        self._extras: set[int] = set()
        for trial in sorted(trials, key=lambda trial: trial.number):
            is_own = RETRIES in trial.user_attrs and trial.user_attrs.get(RETRY_OF) not in self._extras
            if enqueued_params(trial) is not None and not is_own:
                self._extras.add(trial.number)

    def is_extra(self, trial: FrozenTrial) -> bool:
        """Return whether a user asked for a trial beside the plan."""
        return trial.number in self._extras

    def counts(self, trial: FrozenTrial) -> bool:
        """Return whether a trial fills its slot: it finished, will run, is running, or is given up."""
        return trial.state is not TrialState.FAIL or self.is_given_up(trial)

    def is_given_up(self, trial: FrozenTrial) -> bool:
        """Return whether a trial failed once too often, or in a way that leaves no hope."""
        return self._is_failed(trial) and not self.is_retried(trial)

    def is_retried(self, trial: FrozenTrial) -> bool:
        """Return whether a trial that failed for a reason shall be tried again, and has not been yet."""
        retry_with = trial.user_attrs.get(RETRY_WITH)
        # A user asked for these parameters: others would not be what was asked for.
        is_hopeless = retry_with == "nothing" or (retry_with == "other" and self.is_extra(trial))
        return self._is_failed(trial) and not is_hopeless and trial.user_attrs.get(RETRIES, 0) < self._retries

    def _is_failed(self, trial: FrozenTrial) -> bool:
        is_failed = trial.state is TrialState.FAIL and FAILURE in trial.user_attrs
        return is_failed and trial.number not in self._retried

    def retry(self, trial: FrozenTrial) -> Entry:
        """Return the entry that tries a failed trial again; one that is given up is as good as new."""
        failed = Entry.of(trial)
        fresh = trial.user_attrs.get(RETRY_WITH) == "other" and not self.is_extra(trial)
        params = {KIND: failed.params.get(KIND)} if fresh else failed.params
        retries = 0 if self.is_given_up(trial) else trial.user_attrs.get(RETRIES, 0) + 1
        return Entry(params, failed.manual_name, trial.number, retries, failed.start)


WarmStarts = Mapping[str, Sequence[Mapping[str, Any]]]
"""Parameters of the first trials of a strategy, as many as its quota allows."""

_NO_WARM_STARTS: WarmStarts = {}


def plan(config: Config, warm_starts: WarmStarts = _NO_WARM_STARTS) -> Iterator[Entry]:
    """Yield the trials of a study: manual ones first, then learned and searched in turn, refined ones last."""
    budget = config.budget
    for name in config.manual.names[: budget["manual"]]:
        yield Entry({KIND: "manual"}, name)
    learned = [Entry({KIND: "learned"})] * budget["learned"]
    searched = _starting(warm_starts.get("searched", ()), budget["searched"])
    refined = _starting(warm_starts.get("refined", ()), budget["refined"], BEST_LEARNED)
    yield from (entry for entry in chain.from_iterable(zip_longest(learned, searched)) if entry)
    yield from refined


def _starting(warm_starts: Sequence[Mapping[str, Any]], number: int, start: str | None = None) -> list[Entry]:
    """Return so many searched trials, the first ones with parameters."""
    params = islice(chain(warm_starts, repeat({})), number)
    return [Entry({KIND: "searched", **given}, start=start) for given in params]


def missing_entries(
    trials: Sequence[FrozenTrial], config: Config, warm_starts: WarmStarts = _NO_WARM_STARTS
) -> list[Entry]:
    """Return the trials that a study lacks to meet its quotas.

    Interrupted trials are taken up again with the parameters they had. Trials that failed for a reason are tried again
    as often as ``execution.retries`` says: with the same parameters, or with new ones where these were the reason (a
    loss that was not finite). So are trials that a user enqueued.

    Args:
        trials: All trials of the study.
        config: Says the quotas.
        warm_starts: Parameters of the first searched and refined trials.
    """
    tracker = QuotaTracker(trials, config.execution.retries)
    planned = [trial for trial in trials if not tracker.is_extra(trial)]
    present = Counter(Entry.of(trial).slot for trial in planned if tracker.counts(trial))
    again = [tracker.retry(trial) for trial in planned if tracker.is_retried(trial)]
    again += _interrupted(planned, tracker)
    missing = []
    for entry in plan(config, warm_starts):
        if present[entry.slot]:
            present[entry.slot] -= 1
            continue
        old = next((old for old in again if old.slot == entry.slot), None)
        if old is not None:
            again.remove(old)
        missing.append(old or entry)
    extras = [trial for trial in trials if tracker.is_extra(trial)]
    missing += [tracker.retry(trial) for trial in extras if tracker.is_retried(trial)]
    missing += [replace(entry, retries=None) for entry in _interrupted(extras, tracker)]
    return missing


def enqueue_missing(study: optuna.Study, config: Config, warm_starts: WarmStarts = _NO_WARM_STARTS) -> int:
    """Enqueue all trials that a study lacks, and return how many; see :func:`missing_entries`.

    Of several processes only one may do this at a time.
    """
    missing = missing_entries(study.get_trials(deepcopy=False), config, warm_starts)
    for entry in missing:
        enqueue(study, entry)
    return len(missing)


def enqueue(study: optuna.Study, entry: Entry) -> None:
    """Enqueue a trial of the plan, or one that tries a failed one again."""
    attributes = {
        MANUAL_NAME: entry.manual_name,
        START: entry.start,
        RETRY_OF: entry.retry_of,
        RETRIES: entry.retries,
    }
    given = {key: value for key, value in attributes.items() if value is not None}
    study.enqueue_trial(entry.params, user_attrs=given or None)


def enqueue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Enqueue anew what was enqueued as a trial that must not begin; nothing if nobody had enqueued it."""
    if enqueued_params(trial) is not None:
        study.enqueue_trial(params_of(trial), user_attrs=trial.user_attrs or None)


def drop_surplus(study: optuna.Study, config: Config) -> int:
    """Fail waiting trials that a study no longer asks for: a lower budget, or a manual candidate that is gone.

    What a user enqueued stays.

    Args:
        study: The study.
        config: Says the quotas.

    Returns:
        How many waiting trials were dropped.
    """
    wanted = Counter(entry.slot for entry in plan(config))
    trials = study.get_trials(deepcopy=False)
    tracker = QuotaTracker(trials, config.execution.retries)
    dropped = 0
    for trial in sorted(trials, key=lambda trial: trial.state is TrialState.WAITING):
        if tracker.is_extra(trial) or not tracker.counts(trial):
            continue
        slot = Entry.of(trial).slot
        wanted[slot] -= 1
        if wanted[slot] < 0 and trial.state is TrialState.WAITING:
            set_state(study, trial, TrialState.FAIL)
            dropped += 1
    return dropped


def _interrupted(trials: Sequence[FrozenTrial], tracker: QuotaTracker) -> list[Entry]:
    """Return the interrupted trials that no later trial took up."""
    taken = [Entry.of(trial) for trial in trials if tracker.counts(trial)]
    gone = [trial for trial in trials if trial.state is TrialState.FAIL and FAILURE not in trial.user_attrs]
    return [entry for entry in map(Entry.of, gone) if entry not in taken]


def next_manual(study: optuna.Study | None, names: Sequence[str]) -> str:
    """Return the manual candidate that the fewest trials of a study have taken, the first of several."""
    trials = study.get_trials(deepcopy=False) if study else []
    tracker = QuotaTracker(trials)
    taken = Counter(trial.user_attrs.get(MANUAL_NAME) for trial in trials if tracker.counts(trial))
    return min(names, key=lambda name: taken[name])


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Set a running trial to waiting, with the parameters and intermediate values that it has."""
    set_state(study, trial, TrialState.WAITING)


def requeue_running(study: optuna.Study) -> int:
    """Set the trials to waiting that dead processes left running, and return how many there were.

    Only the sole process of a study may do this.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        requeue(study, trial)
    return len(running)
