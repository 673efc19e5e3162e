"""Finding a job that nobody does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sfgsearch.records import Job, Jobs


@dataclass
class _Sight:
    """How long a job was seen unchanged.

    Args:
        owner: Its owner.
        beat: Its counter.
        at: When it was seen last, on this process's monotonic clock.
        unchanged: Seconds without a change, as far as this process was looking.
    """

    owner: str | None
    beat: int
    at: float
    unchanged: float = 0.0


def is_to_blame(job: Job, jobs: Iterable[Job]) -> bool:
    """Tell whether a job is to blame for the loss of its last worker, rather than the machine.

    A worker that is killed cannot say why. So the other trainings are asked: the job is to blame if, since that worker
    took it, more of them got on than lost a worker. Where several lose theirs at the same time, none is. This compares
    the clocks of the workers, which need to agree to within the time that an epoch takes.

    Args:
        job: A job that lost its worker before an epoch or a checkpoint was finished.
        jobs: All jobs of the study.
    """
    since = [other for other in jobs if other.job != job.job and other.beat_at > job.claimed_at]
    got_on = sum(not other.fruitless for other in since)
    lost = sum(other.fruitless > (0 if other.owner is None else 1) for other in since)
    return got_on > lost


class Claims:
    """Takes jobs for a worker: those that are free, and those whose owner gave no sign of life for a while.

    The while is measured by this process's own clock, from when it first looked, so that clocks of machines need not
    agree. However long ago it looked before, one look counts for half of that while at most: this process or the
    database may have paused, and then the others had no chance to give their signs either.

    The loss of a worker is held against a job that is to blame for it, see :func:`is_to_blame`, or the only one that is
    left to be done. Any other loss may be the machine's. It is not counted, and the job waits until everything else was
    tried and nobody is in the middle of an attempt that would tell: what does not fit into the machine together then
    goes one by one. Where nothing is left but jobs that lost their workers, each loss in turn is held against its job,
    unless no training of the study has ever finished an epoch.

    Args:
        jobs: The jobs of the study.
        owner: The worker's key.
        name: The worker's name for people.
        grace: Seconds without a sign of life after which a job is free.
    """

    def __init__(self, jobs: Jobs, owner: str, name: str, grace: float) -> None:
        self.jobs, self.owner, self.name = jobs, owner, name
        self._grace = grace
        self._sights: dict[str, _Sight] = {}

    def look(self, keys: Mapping[str, bool]) -> Iterator[tuple[str, Job | None]]:
        """Yield the jobs that are free, with what was seen of them, less a loss that is not held against them.

        Args:
            keys: The jobs that are to be done, and whether each is begun according to its trial's state, so that a
                worker must have been at it even if nobody took it here.
        """
        if not keys:
            return
        known = self.jobs.all(keys)
        now = time.monotonic()
        for gone in self._sights.keys() - keys.keys():
            del self._sights[gone]
        free = [key for key, is_begun in keys.items() if self._is_free(key, known.get(key), is_begun, now)]
        lost = [known[key] for key in free if key in known and known[key].fruitless]
        jobs = self.jobs.all().values() if lost and len(keys) > 1 else ()
        waiting = {job.job for job in lost if len(keys) > 1 and not is_to_blame(job, jobs)}
        for key in free:
            if key not in waiting:
                yield key, known.get(key)
        if not waiting or any(job.owner and job.fruitless and key not in free for key, job in known.items()):
            return
        doubtful = [job for job in lost if job.job in waiting]
        if len(lost) == len(keys) and any(job.epoch for job in jobs):  # the machine has shown that it can train
            job = max(doubtful, key=lambda job: job.fruitless)
            yield job.job, job
        else:
            job = min(doubtful, key=lambda job: job.claims)
            yield job.job, replace(job, fruitless=job.fruitless - 1)

    def take(self, key: str, seen: Job | None) -> bool:
        """Take a job that was free; False if another worker was faster."""
        self._sights.pop(key, None)
        return self.jobs.claim(key, self.owner, self.name, seen)

    def held(self) -> frozenset[tuple[str, str, bool]]:
        """Ask who holds which job and which of these got on, and take note of the signs of life of those looked at.

        It is for a worker that found nothing to do: it will not as long as the answer stays and no job is silent.
        """
        held = {holding.job: holding for holding in self.jobs.held()}
        now = time.monotonic()
        for key in list(self._sights):
            holding = held.get(key)
            owner, beat = (holding.owner, holding.beat) if holding else (None, 0)
            self._is_silent(key, owner, beat, now)
        return frozenset((job.job, job.owner, job.fruitless == 0) for job in held.values())

    @property
    def any_silent(self) -> bool:
        """Whether a job that was looked at has been silent for long enough to be free."""
        return any(sight.unchanged >= self._grace for sight in self._sights.values())

    def _is_free(self, key: str, job: Job | None, is_begun: bool, now: float) -> bool:
        if job is None and not is_begun:
            return True
        if job is not None and job.owner in (None, self.owner):
            return True
        owner, beat = (job.owner, job.beat) if job else (None, 0)
        return self._is_silent(key, owner, beat, now)

    def _is_silent(self, key: str, owner: str | None, beat: int, now: float) -> bool:
        sight = self._sights.get(key)
        if sight is None or (sight.owner, sight.beat) != (owner, beat):
            self._sights[key] = _Sight(owner, beat, now)
            return False
        sight.unchanged += min(now - sight.at, self._grace / 2)
        sight.at = now
        return sight.unchanged >= self._grace
