"""Finding a job that nobody does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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


class Claims:
    """Takes jobs for a worker: those that are free, and those whose owner gave no sign of life for a while.

    The while is measured by this process's own clock, from when it first looked, so that clocks of machines need not
    agree. However long ago it looked before, one look counts for half of that while at most: this process or the
    database may have paused, and then the others had no chance to give their signs either.

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
        """Yield the jobs that are free, with what was seen of them.

        Args:
            keys: The jobs that are to be done, and whether each is begun according to its trial's state, so that a
                worker must have been at it even if nobody took it here.
        """
        known = self.jobs.all(keys)
        now = time.monotonic()
        for gone in self._sights.keys() - keys.keys():
            del self._sights[gone]
        for key, is_begun in keys.items():
            job = known.get(key)
            if self._is_free(key, job, is_begun, now):
                yield key, job

    def take(self, key: str, seen: Job | None) -> bool:
        """Take a job that was free; False if another worker was faster."""
        self._sights.pop(key, None)
        return self.jobs.claim(key, self.owner, self.name, seen)

    def _is_free(self, key: str, job: Job | None, is_begun: bool, now: float) -> bool:
        if job is None and not is_begun:
            return True
        if job is not None and job.owner in (None, self.owner):
            return True
        owner, beat = (job.owner, job.beat) if job else (None, 0)
        sight = self._sights.get(key)
        if sight is None or (sight.owner, sight.beat) != (owner, beat):
            self._sights[key] = _Sight(owner, beat, now)
            return False
        sight.unchanged += min(now - sight.at, self._grace / 2)
        sight.at = now
        return sight.unchanged >= self._grace
