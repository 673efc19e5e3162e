"""Jobs: who may do which training of a study, decided by one row and one statement each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sfgsearch.errors import LeaseLostError
from sfgsearch.records._models import JobRow


@dataclass(frozen=True)
class Job:
    """One training that a study asks for.

    A worker owns it as long as it changes ``heartbeat``. The counter needs no clock that machines share: who wants to
    take a job over watches it stand still.

    Args:
        job: Its key: ``"trial/7"``, or role, trial and seed of a finalist: ``"matched/7/3"``.
        owner: The worker that may do it; None if anyone may have it.
        worker: Name of the worker that had it last.
        heartbeat: Counts the owner's heartbeats and changes of owner.
        claimed_at: When its present or last owner took it, by that worker's clock (UTC).
        heartbeat_at: When that worker last sent a heartbeat.
        epoch: Epochs that are finished.
        claims: How often it was taken.
        attempts_without_progress: How often in a row it was taken without an epoch, a checkpoint or a release, as far
            as that is held against it.
        failures: How often it failed for a reason of its own.
        reason: The last reason.
        finished: Whether there is nothing left to do.
    """

    job: str
    owner: str | None
    worker: str
    heartbeat: int
    claimed_at: datetime
    heartbeat_at: datetime
    epoch: int
    claims: int
    attempts_without_progress: int
    failures: int
    reason: str | None
    finished: bool


class Jobs:
    """The jobs of one study.

    Every change is a single statement that says what it expects, so that of any number of workers one wins.

    Args:
        engine: The database that the study is in; its tables exist.
        study: The study's name.
    """

    def __init__(self, engine: Engine, study: str) -> None:
        self._engine, self._study = engine, study

    def all(self, keys: Iterable[str] | None = None) -> dict[str, Job]:
        """Return the jobs that were ever taken by key, all or those of some keys."""
        columns = (getattr(JobRow, name) for name in Job.__dataclass_fields__)
        query = select(*columns).where(JobRow.study == self._study).order_by(JobRow.id)
        if keys is not None:
            query = query.where(JobRow.job.in_(list(keys)))
        with self._engine.connect() as connection:
            return {row.job: Job(**{**row._mapping, **_in_utc(row._mapping)}) for row in connection.execute(query)}

    def claim(self, key: str, owner: str, worker: str, seen: Job | None) -> bool:
        """Take a job; False if another worker was faster.

        Args:
            key: The job.
            owner: Who takes it.
            worker: That worker's name.
            seen: The job as it was when the worker decided that it is free; None if there was nothing yet.
        """
        now = datetime.now(UTC)
        taken: dict[str, Any] = {"owner": owner, "worker": worker[:256], "claimed_at": now, "heartbeat_at": now}
        if seen is not None:
            counters = {
                "heartbeat": seen.heartbeat + 1,
                "claims": seen.claims + 1,
                "attempts_without_progress": seen.attempts_without_progress + 1,
            }
            return self._update(key, JobRow.heartbeat == seen.heartbeat, **taken, **counters, finished=False)
        first = {"heartbeat": 1, "epoch": 0, "claims": 1, "attempts_without_progress": 1, "failures": 0}
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    insert(JobRow), {"study": self._study, "job": key, **first, **taken, "finished": False}
                )
        except IntegrityError:
            return False
        return True

    def heartbeat(self, key: str, owner: str, epoch: int, *, progressed: bool) -> bool:
        """Show that a worker is alive; False if the job belongs to another one by now.

        Args:
            key: The job.
            owner: The worker.
            epoch: Epochs that are finished.
            progressed: Whether the owner has finished an epoch or saved a checkpoint since it took the job.
        """
        progress = {"attempts_without_progress": 0} if progressed else {}
        return self._owned(key, owner, heartbeat_at=datetime.now(UTC), epoch=epoch, **progress)

    def release(self, key: str, owner: str) -> bool:
        """Give a job back unfinished, for any worker to take."""
        return self._owned(key, owner, owner=None, attempts_without_progress=0)

    def fail(self, key: str, owner: str, reason: str, times: int = 1, *, progressed: bool = True) -> bool:
        """Give a job back with the reason why it failed, which may weigh as much as several failures.

        Args:
            key: The job.
            owner: Who says it.
            reason: The reason.
            times: As how many failures it counts.
            progressed: Whether a worker lived to see it, rather than lost the job once too often.
        """
        progress = {"attempts_without_progress": 0} if progressed else {}
        return self._owned(key, owner, owner=None, failures=JobRow.failures + times, reason=reason, **progress)

    def finish(self, key: str, owner: str, epoch: int | None = None, *, progressed: bool = True) -> bool:
        """Say that a job is done; False if it belongs to another worker by now.

        Args:
            key: The job.
            owner: Who says it.
            epoch: Epochs that are finished; as known before if None.
            progressed: As in :meth:`fail`.
        """
        done: dict[str, Any] = {"owner": None, "finished": True}
        if progressed:
            done["attempts_without_progress"] = 0
        if epoch is not None:
            done |= {"heartbeat_at": datetime.now(UTC), "epoch": epoch}
        return self._owned(key, owner, **done)

    def forgive(self, key: str) -> bool:
        """Forget the failures of a job that nobody has, as if it had never been taken; False if somebody has it."""
        chance = {"failures": 0, "attempts_without_progress": 0, "reason": None, "finished": False}
        return self._update(key, JobRow.owner.is_(None), heartbeat=JobRow.heartbeat + 1, **chance)

    def release_dead(self, owner: str | None = None) -> int:
        """Free the jobs of a worker that is known to be dead, or of all workers, and return how many there were.

        Args:
            owner: The dead worker; None if no worker but the caller can be alive.
        """
        held = (JobRow.owner == owner) if owner is not None else JobRow.owner.is_not(None)
        changed = update(JobRow).where(JobRow.study == self._study, held)
        with self._engine.begin() as connection:
            return connection.execute(changed.values(owner=None, heartbeat=JobRow.heartbeat + 1)).rowcount

    def clear(self) -> None:
        """Forget all jobs of the study."""
        with self._engine.begin() as connection:
            connection.execute(delete(JobRow).where(JobRow.study == self._study))

    def lock(self, connection: Connection, key: str, owner: str) -> None:
        """Lock the row of a job until the transaction ends, so that nobody takes it over in between.

        Raises:
            LeaseLostError: If the job is not the owner's.
        """
        row = select(JobRow.id).where(
            JobRow.study == self._study, JobRow.job == bindparam("key"), JobRow.owner == bindparam("holder")
        )
        if connection.execute(row.with_for_update(), {"key": key, "holder": owner}).first() is None:
            raise LeaseLostError(f"{key} belongs to another worker by now")

    def _owned(self, key: str, holder: str, /, **values: Any) -> bool:
        return self._update(key, JobRow.owner == holder, heartbeat=JobRow.heartbeat + 1, **values)

    def _update(self, key: str, condition: Any, **values: Any) -> bool:
        change = update(JobRow).where(JobRow.study == self._study, JobRow.job == key, condition).values(**values)
        with self._engine.begin() as connection:
            return connection.execute(change).rowcount == 1


def _in_utc(row: Any) -> dict[str, datetime]:
    """Return the times of a row with their zone, which SQLite and MySQL do not keep."""
    times = {name: row[name] for name in ("claimed_at", "heartbeat_at")}
    return {name: time if time.tzinfo else time.replace(tzinfo=UTC) for name, time in times.items()}
