"""Running the trials of a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sfgsearch._optuna import resume, set_state
from sfgsearch.errors import LeaseLostError, LockHeldError, StudyError, TrainingInterrupted
from sfgsearch.records import Lease
from sfgsearch.search._attributes import START
from sfgsearch.search._leasing import trial_key
from sfgsearch.search._outstanding import waits_for_learned
from sfgsearch.search._queue import BEST_LEARNED, FAILURE, RETRY_WITH, enqueue, missing_entries, requeue
from sfgsearch.search._study import as_planned, planning
from sfgsearch.storage import is_outage, retry_on_outage
from sfgsearch.workers._context import WorkerContext
from sfgsearch.workers._runner import JobRunner, explain_lost_workers
from sfgsearch.workers._session import WorkerSession

_LOCK_SECONDS = 5.0


class TrialRunner(JobRunner):
    """Trains the trials of a study, and creates those that its plan lacks, one when this worker is free.

    Args:
        context: The worker's state.
        sampler: Returns the sampler for a trial's number.
    """

    def __init__(self, context: WorkerContext, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> None:
        super().__init__(context)
        self._sampler = sampler
        self._trial: FrozenTrial | None = None
        self._left = True

    @property
    def is_over(self) -> bool:
        """Whether no trial ran, waited or was missing."""
        return not self._left

    def _acquire(self) -> Lease | None:
        try:
            with planning(self._context.study, _LOCK_SECONDS):  # so that no two workers create the same trial
                return self._acquire_alone()
        except LockHeldError:  # a worker that is paused with the lock in its hands stops no other
            self._left = True
            return None

    def _acquire_alone(self) -> Lease | None:
        study, objective = self._context.study, self._context.objective
        plan = as_planned(study, objective.config)
        trials = study.get_trials(deepcopy=False)
        missing = missing_entries(trials, plan, objective.space.warm_starts())
        is_early = waits_for_learned(trials, plan)
        startable = [entry for entry in missing if not (is_early and entry.start == BEST_LEARNED)]
        unfinished = [trial for trial in trials if not trial.state.is_finished()]
        self._left = bool(unfinished or missing)
        ready = [trial for trial in unfinished if not (is_early and _waits_to_refine(trial))]
        lease = self._take_one_of(ready, others=bool(startable))
        if lease is None and startable:
            enqueue(study, startable[0])
            created = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))[-1]
            lease = self._take_one_of([created], others=True)
        return lease

    def _take_one_of(self, trials: Sequence[FrozenTrial], *, others: bool) -> Lease | None:
        """Take the lease of the first trial that no worker has, running ones first, and let it run."""
        in_order = sorted(trials, key=lambda trial: (trial.state is TrialState.WAITING, trial.number))
        by_key = {trial_key(trial.number): trial for trial in in_order}
        begun = {key: trial.state is TrialState.RUNNING for key, trial in by_key.items()}
        for key, seen in self._context.leases.free(begun, others=others):
            lease = self._context.leases.take(key, seen)
            if lease and self._begin(lease, by_key[key]):
                self._trial = by_key[key]
                return lease
        return None

    def _begin(self, lease: Lease, trial: FrozenTrial) -> bool:
        """Set a trial to running; False if it was over, or begun by a process that is no worker."""
        try:
            if set_state(self._context.study, trial, TrialState.RUNNING) or trial.state is TrialState.RUNNING:
                return True
        except UpdateFinishedTrialError:
            pass
        lease.finish()
        return False

    def _train(self, lease: Lease, session: WorkerSession) -> Callable[[], None]:
        is_lost = self._context.has_killed_its_workers(lease)
        state, values = self._give_up(lease) if is_lost else self._outcome(lease, session)
        retry_on_outage(lease.confirm)
        told = self._tell(state, values)
        # A worker that dies here leaves a finished trial behind, whose lease nobody asks for any more.
        retry_on_outage(partial(lease.finish, progressed=not is_lost))
        return partial(self._context.listener.trial_over, told)

    def _chosen(self) -> FrozenTrial:
        if self._trial is None:
            raise RuntimeError("no trial was acquired")
        return self._trial

    def _resumed(self) -> optuna.Trial:
        trial = self._chosen()
        self._context.study.sampler = self._sampler(trial.number)
        return resume(self._context.study, trial)

    def _give_up(self, lease: Lease) -> tuple[TrialState, None]:
        """Keep the reason why a trial is not tried again."""
        trial = self._resumed()
        trial.set_user_attr(FAILURE, explain_lost_workers(lease))
        trial.set_user_attr(RETRY_WITH, "nothing")
        return TrialState.FAIL, None

    def _outcome(self, lease: Lease, session: WorkerSession) -> tuple[TrialState, Sequence[float] | None]:
        """Train the trial and return what Optuna shall be told."""
        try:
            result = self._context.objective.train(self._resumed(), session, lease)
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

    def _tell(self, state: TrialState, values: Sequence[float] | None) -> FrozenTrial:
        """Report to Optuna how the trial ended, and return it as it is then.

        Raises:
            LeaseLostError: If the trial does not run any more.
        """
        study, number, attempts = self._context.study, self._chosen().number, 0

        def tell() -> FrozenTrial:
            nonlocal attempts
            attempts += 1
            return study.tell(number, values, state)

        try:
            return retry_on_outage(tell)
        except ValueError as error:  # Optuna's for a trial that is not running
            told = study.get_trials(deepcopy=False)[number]
            if attempts == 1 or told.state is not state:  # an outage may have hidden that the trial was told
                raise LeaseLostError(str(error)) from error
            return told

    def _hand_back(self, lease: Lease) -> None:
        try:
            lease.confirm()
            requeue(self._context.study, self._chosen())
        except LeaseLostError:
            return
        except UpdateFinishedTrialError:
            pass  # it was told, and only its job is left to be finished
        lease.release()


def _waits_to_refine(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.WAITING and trial.user_attrs.get(START) == BEST_LEARNED
