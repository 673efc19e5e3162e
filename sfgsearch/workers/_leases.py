"""Finding a job that no worker has, and taking its lease."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sfgsearch.records import Job, Jobs, Lease


@dataclass
class _Observation:
    """How long a job was seen unchanged.

    Args:
        owner: Its owner.
        heartbeat: Its counter.
        at: When it was seen last, on this process's monotonic clock.
        unchanged: Seconds without a change, as far as this process was looking.
    """

    owner: str | None
    heartbeat: int
    at: float
    unchanged: float = 0.0


def is_to_blame(job: Job, jobs: Iterable[Job]) -> bool:
    """Return whether a job is to blame for the loss of its last worker, rather than the machine.

    A worker that is killed cannot say why. So the other trainings are asked: the job is to blame if, since that worker
    took it, more of them got on than lost a worker. Where several lose theirs at the same time, none is. This compares
    the clocks of the workers, which need to agree to within the time that an epoch takes.

    Args:
        job: A job that lost its worker before an epoch or a checkpoint was finished.
        jobs: All jobs of the study.
    """
    since = [other for other in jobs if other.job != job.job and other.heartbeat_at > job.claimed_at]
    got_on = sum(not other.attempts_without_progress for other in since)
    lost = sum(other.attempts_without_progress > (0 if other.owner is None else 1) for other in since)
    return got_on > lost


class Leases:
    """Takes leases for a worker: of jobs that are free, and of those whose owner sent no heartbeat for a while.

    The while is measured by this process's own clock, from when it first looked, so that clocks of machines need not
    agree. However long ago it looked before, one look counts for half of that while at most: this process or the
    database may have paused, and then the others had no chance to send theirs either.

    The loss of a worker is held against a job that is to blame for it, see :func:`is_to_blame`, or the only one that is
    left to be done. Any other loss may be the machine's. It is not counted, and the job waits until everything else was
    tried and nobody is in the middle of an attempt that would tell: what does not fit into the machine together then
    goes one by one. Where nothing is left but jobs that lost their workers, each loss in turn is held against its job,
    unless no training of the study has ever finished an epoch.

    Args:
        jobs: The jobs of the study.
        owner: The worker's key.
        name: The worker's name for people.
        timeout: Seconds without a heartbeat after which a job is free.
        threaded: Whether leases send heartbeats by a thread, for other workers to see.
    """

    def __init__(self, jobs: Jobs, owner: str, name: str, timeout: float, *, threaded: bool = True) -> None:
        self.jobs, self.owner, self.name = jobs, owner, name
        self._timeout, self._threaded = timeout, threaded
        self._observations: dict[str, _Observation] = {}

    def free(self, keys: Mapping[str, bool], *, others: bool = False) -> Iterator[tuple[str, Job | None]]:
        """Yield the jobs that are free, with what was seen of them, less a loss that is not held against them.

        Args:
            keys: The jobs that are to be done, and whether each is begun according to its trial's state, so that a
                worker must have been at it even if nobody took it here.
            others: Whether there is more to be done than these, which nobody has begun: then jobs wait whose loss may
                be the machine's.
        """
        if not keys:
            return
        known = self.jobs.all(keys)
        now = time.monotonic()
        for gone in self._observations.keys() - keys.keys():
            del self._observations[gone]
        free = [key for key, is_begun in keys.items() if self._is_free(key, known.get(key), is_begun, now)]
        lost = [known[key] for key in free if key in known and known[key].attempts_without_progress]
        is_alone = len(keys) == 1 and not others
        jobs = self.jobs.all().values() if lost and not is_alone else ()
        waiting = {job.job for job in lost if not is_alone and not is_to_blame(job, jobs)}
        for key in free:
            if key not in waiting:
                yield key, known.get(key)
        is_tried = any(job.owner and job.attempts_without_progress and key not in free for key, job in known.items())
        if others or not waiting or is_tried:
            return
        doubtful = [job for job in lost if job.job in waiting]
        if len(lost) == len(keys) and any(job.epoch for job in jobs):  # the machine has shown that it can train
            job = max(doubtful, key=lambda job: job.attempts_without_progress)
            yield job.job, job
        else:
            job = min(doubtful, key=lambda job: job.claims)
            yield job.job, replace(job, attempts_without_progress=job.attempts_without_progress - 1)

    def take(self, key: str, seen: Job | None) -> Lease | None:
        """Take a job that was free, and return its lease; None if another worker was faster."""
        self._observations.pop(key, None)
        if not self.jobs.claim(key, self.owner, self.name, seen):
            return None
        return Lease(self.jobs, key, self.owner, self._timeout, seen, threaded=self._threaded)

    def _is_free(self, key: str, job: Job | None, is_begun: bool, now: float) -> bool:
        if job is None and not is_begun:
            return True
        if job is not None and job.owner in (None, self.owner):
            return True
        owner, heartbeat = (job.owner, job.heartbeat) if job else (None, 0)
        observation = self._observations.get(key)
        if observation is None or (observation.owner, observation.heartbeat) != (owner, heartbeat):
            self._observations[key] = _Observation(owner, heartbeat, now)
            return False
        observation.unchanged += min(now - observation.at, self._timeout / 2)
        observation.at = now
        return observation.unchanged >= self._timeout
