"""Running the finalists of a study whose trials are over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sfgsearch.errors import NonFiniteLossError, StudyError, TrainingInterrupted
from sfgsearch.records import Lease
from sfgsearch.search import missing_finalists
from sfgsearch.search._description import explain_failure
from sfgsearch.search._finalists import Finalist, is_given_up
from sfgsearch.search._retraining import retrain
from sfgsearch.storage import is_outage, retry_on_outage
from sfgsearch.workers._context import WorkerContext
from sfgsearch.workers._runner import JobRunner, explain_lost_workers
from sfgsearch.workers._session import WorkerSession


class FinalistRunner(JobRunner):
    """Retrains the finalists of a study.

    Args:
        context: The worker's state.
    """

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context)
        self._left: dict[str, Finalist] = {}

    @property
    def is_over(self) -> bool:
        """Whether every finalist was recorded or given up."""
        return not self._left

    def remaining(self) -> dict[str, Finalist]:
        """Return the finalists that are missing and have not failed once too often, by job."""
        context = self._context
        missing = {finalist.job: finalist for finalist in missing_finalists(context.study, context.config)}
        jobs, retries = context.leases.jobs.all(missing), context.config.execution.retries
        return {key: finalist for key, finalist in missing.items() if not is_given_up(jobs.get(key), retries)}

    def _acquire(self) -> Lease | None:
        self._left = self.remaining()
        for key, seen in self._context.leases.free(dict.fromkeys(self._left, False)):
            lease = self._context.leases.take(key, seen)
            if lease and self._is_missing(lease):
                return lease
        return None

    def _is_missing(self, lease: Lease) -> bool:
        """Return whether a finalist that was taken is still missing: another worker may just have recorded it."""
        finalist = self._left[lease.key]
        if not finalist.is_in(self._context.records.all(finalist.role, finalist.trial)):
            return True
        lease.finish()
        return False

    def _train(self, lease: Lease, session: WorkerSession) -> Callable[[], None]:
        finalist, failure = self._left[lease.key], None
        try:
            self._retrain(finalist, lease, session)
        except TrainingInterrupted:
            raise
        except Exception as error:
            if is_outage(error):
                raise
            failure = self._fail(lease, error)
        if failure is None:
            retry_on_outage(lease.finish)
        return partial(self._context.listener.finalist_over, finalist, failure)

    def _retrain(self, finalist: Finalist, lease: Lease, session: WorkerSession) -> None:
        context = self._context
        if context.has_killed_its_workers(lease):
            raise StudyError(explain_lost_workers(lease))
        on_epoch = partial(context.listener.finalist_epoch, finalist)
        retrain(
            context.objective,
            context.records,
            finalist,
            study=context.study,
            on_epoch=on_epoch,
            session=session,
            lease=lease,
        )

    def _fail(self, lease: Lease, error: Exception) -> str:
        """Keep the reason why a finalist failed, and return it."""
        context = self._context
        reason, is_lost = explain_failure(error, context.objective.experiment), context.has_killed_its_workers(lease)
        is_hopeless = isinstance(error, NonFiniteLossError) or is_lost  # which would not be finite the next time
        times = 1 + context.config.execution.retries if is_hopeless else 1
        retry_on_outage(partial(lease.fail, reason, times, progressed=not is_lost))
        return reason
