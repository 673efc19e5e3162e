"""Jobs: who may do which training of a study, decided by one row and one statement each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Engine, Update, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sfgsearch.records._models import JobRow


@dataclass(frozen=True)
class Job:
    """One training that a study asks for.

    A worker owns it as long as it changes ``beat``. The counter needs no clock that machines share: who wants to take
    a job over watches it stand still.

    Args:
        job: Its key: ``"trial/7"``, or role, trial and seed of a finalist: ``"matched/7/3"``.
        owner: The worker that may do it; None if anyone may have it.
        worker: Name of the worker that had it last.
        beat: Counts the owner's signs of life and changes of owner.
        claimed_at: When its present or last owner took it, by that worker's clock (UTC).
        beat_at: When that worker last gave a sign of life.
        epoch: Epochs that are finished.
        claims: How often it was taken.
        fruitless: How often in a row it was taken without an epoch, a checkpoint or a word of goodbye, as far as
            that is held against it.
        failures: How often it failed for a reason of its own.
        reason: The last reason.
        finished: Whether there is nothing left to do.
    """

    job: str
    owner: str | None
    worker: str
    beat: int
    claimed_at: datetime
    beat_at: datetime
    epoch: int
    claims: int
    fruitless: int
    failures: int
    reason: str | None
    finished: bool


_JOBS = (
    select(*(getattr(JobRow, name) for name in Job.__dataclass_fields__))
    .where(JobRow.study == bindparam("of_study"))
    .order_by(JobRow.id)
)
_HELD = select(JobRow.job, JobRow.owner, JobRow.beat, JobRow.fruitless).where(
    JobRow.study == bindparam("of_study"), JobRow.owner.is_not(None)
)
_SOME_JOBS = _JOBS.where(JobRow.job.in_(bindparam("keys", expanding=True)))


class Holding(NamedTuple):
    """Signs of life of a job that somebody holds.

    Args:
        job: Its key.
        owner: Who holds it.
        beat: See :class:`Job`.
        fruitless: See :class:`Job`.
    """

    job: str
    owner: str
    beat: int
    fruitless: int


class Jobs:
    """The jobs of one study.

    Every change is a single statement that says what it expects, so that of any number of workers one wins.

    Args:
        engine: The database that the study is in; its tables exist.
        study: The study's name.
    """

    def __init__(self, engine: Engine, study: str) -> None:
        # Every statement is a transaction of its own, without two more to begin and end it.
        self._engine, self._study = engine.execution_options(isolation_level="AUTOCOMMIT"), study

    def all(self, keys: Iterable[str] | None = None) -> dict[str, Job]:
        """Return the jobs that were ever taken by key, all or those of some keys."""
        chosen: dict[str, Any] = {"of_study": self._study}
        if keys is not None:
            chosen["keys"] = list(keys)
        with self._engine.connect() as connection:
            rows = connection.execute(_JOBS if keys is None else _SOME_JOBS, chosen).mappings()
            found = [Job(**{**row, **_in_utc(row)}) for row in rows]
        return {job.job: job for job in found}

    def held(self) -> list[Holding]:
        """Return the jobs that somebody holds; the smallest question that tells whether anything has happened."""
        with self._engine.connect() as connection:
            found = connection.execute(_HELD, {"of_study": self._study})
            return [Holding(job, str(owner), beat, fruitless) for job, owner, beat, fruitless in found]

    def claim(self, key: str, owner: str, worker: str, seen: Job | None) -> bool:
        """Take a job; False if another worker was faster.

        Args:
            key: The job.
            owner: Who takes it.
            worker: That worker's name.
            seen: What the worker saw of it when it decided that it is free; None if there was nothing yet.
        """
        now = datetime.now(UTC)
        taken: dict[str, Any] = {"owner": owner, "worker": worker[:256], "claimed_at": now, "beat_at": now}
        if seen is not None:
            counters = {"beat": seen.beat + 1, "claims": seen.claims + 1, "fruitless": seen.fruitless + 1}
            return self._update(key, JobRow.beat == seen.beat, **taken, **counters, finished=False)
        row = {"study": self._study, "job": key, "beat": 1, "epoch": 0, "claims": 1, "fruitless": 1, "failures": 0}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(JobRow), {**row, **taken, "finished": False})
        except IntegrityError:
            return False
        return True

    def beat(self, key: str, owner: str, epoch: int, *, fruitful: bool) -> bool:
        """Give a sign of life; False if the job belongs to somebody else by now.

        Args:
            key: The job.
            owner: Who gives it.
            epoch: Epochs that are finished.
            fruitful: Whether the owner has finished an epoch or saved a checkpoint since it took the job.
        """
        fruit = {"fruitless": 0} if fruitful else {}
        return self._owned(key, owner, beat=JobRow.beat + 1, beat_at=datetime.now(UTC), epoch=epoch, **fruit)

    def release(self, key: str, owner: str) -> bool:
        """Give a job back unfinished, for any worker to take."""
        return self._owned(key, owner, owner=None, beat=JobRow.beat + 1, fruitless=0)

    def fail(self, key: str, owner: str, reason: str, times: int = 1, *, fruitful: bool = True) -> bool:
        """Give a job back with the reason why it failed, which may weigh as much as several failures.

        Args:
            key: The job.
            owner: Who says it.
            reason: The reason.
            times: As how many failures it counts.
            fruitful: Whether a worker lived to see it, rather than lost the job once too often.
        """
        failure: dict[str, Any] = {"failures": JobRow.failures + times, "reason": reason}
        if fruitful:
            failure["fruitless"] = 0
        return self._owned(key, owner, owner=None, beat=JobRow.beat + 1, **failure)

    def finish(
        self,
        key: str,
        owner: str,
        epoch: int | None = None,
        connection: Connection | None = None,
        *,
        fruitful: bool = True,
    ) -> bool:
        """Say that a job is done; False if it belongs to somebody else by now.

        Args:
            key: The job.
            owner: Who says it.
            epoch: Epochs that are finished; as known before if None.
            connection: Where that shall be part of a transaction.
            fruitful: As in :meth:`fail`.
        """
        done: dict[str, Any] = {"owner": None, "beat": JobRow.beat + 1, "finished": True}
        if fruitful:
            done["fruitless"] = 0
        if epoch is not None:
            done |= {"beat_at": datetime.now(UTC), "epoch": epoch}
        if connection is None:
            return self._owned(key, owner, **done)
        changing = self._chosen(key, JobRow.owner == owner).values(done)
        return connection.execute(changing).rowcount == 1

    def forgive(self, key: str) -> bool:
        """Forget the failures of a job that nobody has, as if it had never been taken; False if somebody has it."""
        chance = {"failures": 0, "fruitless": 0, "reason": None, "finished": False}
        return self._update(key, JobRow.owner.is_(None), beat=JobRow.beat + 1, **chance)

    def release_dead(self, owner: str | None = None) -> int:
        """Free the jobs of a worker that is known to be dead, or of all workers, and return how many there were.

        Args:
            owner: The dead worker; None if no worker but the caller can be alive.
        """
        held = (JobRow.owner == owner) if owner is not None else JobRow.owner.is_not(None)
        changed = update(JobRow).where(JobRow.study == self._study, held)
        with self._engine.begin() as connection:
            return connection.execute(changed.values(owner=None, beat=JobRow.beat + 1)).rowcount

    def clear(self) -> None:
        """Forget all jobs of the study."""
        with self._engine.begin() as connection:
            connection.execute(delete(JobRow).where(JobRow.study == self._study))

    def _owned(self, key: str, holder: str, /, **values: Any) -> bool:
        return self._update(key, JobRow.owner == holder, **values)

    def _update(self, key: str, *conditions: Any, **values: Any) -> bool:
        with self._engine.begin() as connection:
            result: CursorResult[Any] = connection.execute(self._chosen(key, *conditions).values(**values))
            return result.rowcount == 1

    def _chosen(self, key: str, *conditions: Any) -> Update:
        return update(JobRow).where(JobRow.study == self._study, JobRow.job == key, *conditions)


def _in_utc(row: Any) -> dict[str, datetime]:
    """Return the times of a row with their zone, which SQLite and MySQL do not keep."""
    times = {name: row[name] for name in ("claimed_at", "beat_at")}
    return {name: time if time.tzinfo else time.replace(tzinfo=UTC) for name, time in times.items()}
