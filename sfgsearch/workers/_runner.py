"""One training from its lease to its end, be it a trial or a finalist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from optuna.exceptions import UpdateFinishedTrialError

from sfgsearch.errors import LeaseLostError, TrainingInterrupted
from sfgsearch.records import Lease
from sfgsearch.storage import is_outage
from sfgsearch.workers._context import WorkerContext
from sfgsearch.workers._session import WorkerSession


class JobRunner(ABC):
    """Trains what one phase of a study asks for: leases a job, trains it, ends it, one at a time.

    Args:
        context: The worker's state.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether nothing was left to do, by this or any other worker, when this was asked for a job last."""

    @abstractmethod
    def _acquire(self) -> Lease | None:
        """Return the lease of the next job that no worker has; None if there is none now."""

    @abstractmethod
    def _train(self, lease: Lease, session: WorkerSession) -> Callable[[], None]:
        """Train a job, keep its result, and finish the lease; return what tells the listener so.

        Raises:
            LeaseLostError: If another worker has the job by now.
            TrainingInterrupted: If the worker was asked to leave.
        """

    def _hand_back(self, lease: Lease) -> None:
        """Give a job back unfinished, unless another worker has it already."""
        lease.release()

    def run_next(self) -> bool:
        """Do the next job that no worker has; False if there is none now."""
        context, lease = self._context, self._acquire()
        if lease is None:
            return False
        with context.holding(lease, self._hand_back) as session:
            try:
                tell = self._train(lease, session)
            except (LeaseLostError, UpdateFinishedTrialError):
                context.listener.note(f"{lease.key} went on elsewhere; its result here is dropped")
                return True
            except TrainingInterrupted as leaving:
                self._hand_back(lease)
                context.listener.note(str(leaving))
                return True
            except BaseException as error:
                if not (isinstance(error, Exception) and is_outage(error)):
                    self._hand_back(lease)
                raise
        context.clear_checkpoints(lease.key)
        tell()
        context.refresh_page()
        return True


def explain_lost_workers(lease: Lease) -> str:
    """Return the reason of a job that lost its workers once too often."""
    return f"its worker died {lease.lost_workers} times before an epoch was finished"
