"""Trials as jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from sfgsearch.errors import LeaseLostError, StudyError, TrainingInterrupted
from sfgsearch.records import Job, Lease
from sfgsearch.search._outstanding import held_back
from sfgsearch.search._queue import FAILURE, RETRY_WITH, requeue
from sfgsearch.search._refill import refill
from sfgsearch.search._study import as_planned
from sfgsearch.search._unfinished import Unfinished, unfinished_trials
from sfgsearch.storage import ending, is_outage, outlast
from sfgsearch.workers._post import Post, died
from sfgsearch.workers._session import WorkerSession

_AHEAD = 8, 64
"""How many waiting trials a worker looks at: a few, and more if others reached for the same ones."""


class TrialJobs:
    """Takes and trains the trials of a study.

    Args:
        post: The worker's place.
        sampler: Returns the sampler for a trial's number.
    """

    def __init__(self, post: Post, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> None:
        self._post, self._sampler = post, sampler

    def unfinished(self) -> list[Unfinished]:
        """Return the trials that run or wait and may be trained now, running ones first."""
        held = self._held_back()
        return [trial for trial in unfinished_trials(self._post.study) if trial.number not in held]

    def _held_back(self) -> frozenset[int]:
        """Return the numbers of the trials that wait for others."""
        study, config = self._post.study, self._post.config
        return held_back(study, as_planned(study, config)) if config.quota.refined else frozenset()

    def do_next(self) -> bool:
        """Train the next trial that nobody trains; False if there is none."""
        held = self._held_back()
        for few in _AHEAD:
            ahead = few + len(held)
            trials = unfinished_trials(self._post.study, ahead)
            if self._do_one_of([trial for trial in trials if trial.number not in held]):
                return True
            if sum(trial.state is TrialState.WAITING for trial in trials) < ahead:
                break  # that were all
        return False

    def _do_one_of(self, trials: Sequence[Unfinished]) -> bool:
        by_key = {f"trial/{trial.number}": trial for trial in trials}
        begun = {key: trial.state is TrialState.RUNNING for key, trial in by_key.items()}
        for key, seen in self._post.claims.look(begun):
            if seen and seen.finished and self._is_over(by_key[key]):
                continue  # it ended after the list was read
            if self._post.claims.take(key, seen) and self._start(key, by_key[key]):
                self._train(key, by_key[key], seen)
                return True
        return False

    def _is_over(self, trial: Unfinished) -> bool:
        return self._post.study._storage.get_trial(trial.id).state.is_finished()

    def _start(self, key: str, trial: Unfinished) -> bool:
        """Mark a trial that was taken as running; False if it was over, or begun elsewhere, by then."""
        try:
            if self._post.study._storage.set_trial_state_values(trial.id, TrialState.RUNNING):
                return True
            if trial.state is TrialState.RUNNING:
                return True  # still marked by the worker that had it before
        except UpdateFinishedTrialError:
            pass
        self._post.jobs.finish(key, self._post.claims.owner)  # over, or begun by a process that is no worker
        return False

    def _train(self, key: str, chosen: Unfinished, seen: Job | None) -> None:
        post = self._post
        with post.holding(key, seen, lambda lease: self._hand_back(chosen, lease)) as (lease, session):
            try:
                state, values = self._outcome(chosen, seen, lease, session)
                told = self._tell(chosen, state, values, lease, is_lost=post.is_doomed(seen))
            except (LeaseLostError, UpdateFinishedTrialError):
                post.listener.note(f"trial {chosen.number} went on elsewhere; its result here is dropped")
                return
            except TrainingInterrupted as leaving:
                self._hand_back(chosen, lease)
                post.listener.note(str(leaving))
                return
            except BaseException as error:
                if not (isinstance(error, Exception) and is_outage(error)):
                    self._hand_back(chosen, lease)
                raise
        post.clear_checkpoints(key)
        post.listener.trial_over(told)
        if state is TrialState.FAIL:
            refill(post.study, post.objective)
        post.refresh_page()

    def _outcome(
        self, chosen: Unfinished, seen: Job | None, lease: Lease, session: WorkerSession
    ) -> tuple[TrialState, Sequence[float] | None]:
        """Train a trial and return what Optuna shall be told."""
        post = self._post
        post.study.sampler = self._sampler(chosen.number)
        known = getattr(post.study._storage, "_trial_id_to_study_id_and_number", {chosen.id})
        if chosen.id not in known:  # another process has created it; Optuna's cache sets parameters of what it has read
            post.study.get_trials(deepcopy=False)
        trial = optuna.Trial(post.study, chosen.id)
        if post.is_doomed(seen):
            trial.set_user_attr(FAILURE, died(seen))
            trial.set_user_attr(RETRY_WITH, "nothing")
            return TrialState.FAIL, None
        try:
            result = post.objective.train(trial, session, lease.held)
        except optuna.TrialPruned:
            return TrialState.PRUNED, None
        except TrainingInterrupted:
            raise
        except Exception as error:
            if is_outage(error) or isinstance(error, UpdateFinishedTrialError | StudyError):
                raise  # the latter is of the database, which could not even keep the reason
            return TrialState.FAIL, None  # the objective has kept the reason
        values = result if isinstance(result, tuple) else (result,)
        return (TrialState.FAIL, None) if any(map(math.isnan, values)) else (TrialState.COMPLETE, values)

    def _tell(
        self,
        chosen: Unfinished,
        state: TrialState,
        values: Sequence[float] | None,
        lease: Lease,
        *,
        is_lost: bool,
    ) -> FrozenTrial:
        """Tell Optuna how a trial ended, finish its job in the same transaction, and return the trial as it is then.

        Args:
            chosen: The trial.
            state: How it ended.
            values: Its values, if it is complete.
            lease: The worker's right to say so.
            is_lost: Whether it is given up without another try.

        Raises:
            LeaseLostError: If another worker has the job, or the trial does not run any more.
        """
        study, attempts = self._post.study, 0

        def finish(connection: Connection) -> None:
            if not self._post.jobs.finish(lease.key, lease.owner, lease.epochs, connection, fruitful=not is_lost):
                raise LeaseLostError(f"{lease.key} belongs to another worker by now")

        def tell() -> FrozenTrial:
            nonlocal attempts
            attempts += 1
            return study.tell(chosen.number, values, state)

        try:
            with ending(study._storage, chosen.id, finish):
                return outlast(tell)
        except (LeaseLostError, ValueError) as error:  # the latter is Optuna's for a trial that is not running
            told = study._storage.get_trial(chosen.id)
            if attempts == 1 or told.state is not state:  # an outage may have hidden that the trial was told
                raise LeaseLostError(str(error)) from error
            return told

    def _hand_back(self, chosen: Unfinished, lease: Lease) -> None:
        """Let a trial wait for another worker, unless one has it already."""
        try:
            lease.confirm()
        except LeaseLostError:
            return
        requeue(self._post.study, chosen.id)
        self._post.jobs.release(lease.key, lease.owner)
