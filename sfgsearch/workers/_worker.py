"""A worker: takes one job of a study after the other until there is none."""

from __future__ import annotations

import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from functools import partial

import optuna

from sfgsearch._exit_status import AWAY
from sfgsearch.errors import StudyError
from sfgsearch.search import Objective, records_of
from sfgsearch.search._queue import requeue_running
from sfgsearch.search._refill import refill
from sfgsearch.search._study import is_single_process, seed_of, trial_sampler
from sfgsearch.search._trial_page import prepare_reviews
from sfgsearch.storage import is_outage
from sfgsearch.workers._claims import Claims
from sfgsearch.workers._finalists import FinalistJobs
from sfgsearch.workers._heap import settled_heap
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._post import Post, checkpoint_folder
from sfgsearch.workers._stop import StopRequest
from sfgsearch.workers._trials import TrialJobs
from sfgsearch.workers._watch import Watch

_LONGEST_POLL = 2.0


class Worker:
    """Trains what a study asks for, beside any number of other workers.

    It does trials first, then finalists. Each is a job that one worker holds at a time, see
    :class:`sfgsearch.records.Job`; what a worker leaves unfinished, however it ended, another one goes on with from
    the last checkpoint. On SQLite it must be the only one.

    Args:
        study: The study, as :func:`sfgsearch.create_study` returns it.
        objective: Its objective.
        owner: A key that no other worker has; drawn if None.
        name: What people call it; host and process if None.
        stop: The wish to leave; its own if None.
        listener: Is told what happens.
        sampler: Returns the sampler for a trial's number. By default it is what the study file says, seeded by the
            study's seed and that number: suggestions do not depend on which worker asks.
        patience: Seconds for which it tries again when the database is away; connections wait besides.

    Raises:
        StudyError: If the study is not in a database, or was begun with other data or another network.
    """

    def __init__(
        self,
        study: optuna.Study,
        objective: Objective,
        *,
        owner: str | None = None,
        name: str | None = None,
        stop: StopRequest | None = None,
        listener: WorkerListener | None = None,
        sampler: Callable[[int], optuna.samplers.BaseSampler] | None = None,
        patience: float = 600.0,
    ) -> None:
        records = records_of(study)
        if records is None:
            raise StudyError("a worker needs a study in a database; give study.storage the URL of one")
        objective.check(study)
        config, host = objective.config, f"{socket.gethostname()}:{os.getpid()}"
        owner = owner or f"{host[-50:]}:{uuid.uuid4().hex[:12]}"
        self._post = Post(
            study,
            objective,
            records,
            Claims(records.jobs, owner, name or host, config.execution.grace),
            stop or StopRequest(),
            listener or WorkerListener(),
            is_single_process(study),
        )
        self._poll = min(config.execution.grace / 8, _LONGEST_POLL)
        self._trials = TrialJobs(self._post, sampler or partial(trial_sampler, config, seed_of(study, config)))
        self._finalists = FinalistJobs(self._post)
        self._watch = Watch(study, self._post.claims)
        self._in_finals, self._is_over = False, False
        self._patience = patience
        self._away_since: float | None = None

    def run(self) -> int:
        """Work until nothing is left to do, or until asked to leave.

        Returns:
            The exit status: 0, 128 + the signal that asked to leave, or 75 if the database did not come back.

        Raises:
            KeyboardInterrupt: At the second SIGINT.
        """
        stop = self._post.stop
        with stop.listening(self._give_up):
            if self._post.is_alone:
                self._take_stock()
            waiting = len(self._trials.unfinished())
            if waiting:
                prepare_reviews(has_pictures=self._post.config.review.pictures)
            self._begin("trials", waiting)
            with settled_heap():
                return self._work_until_over(stop)

    def _work_until_over(self, stop: StopRequest) -> int:
        is_idle = False
        while not stop.requested:
            try:
                if not is_idle or self._watch.has_news():
                    was_idle, is_idle = is_idle, not self._work()
                    self._away_since = None
                    if not is_idle:
                        continue
                    if not was_idle:
                        self._watch.begin()
                    if self._is_over:
                        self._post.refresh_page(at_end=True)
                        shutil.rmtree(checkpoint_folder(self._post.config), ignore_errors=True)
                        break
                self._away_since = None
            except Exception as error:
                if not is_outage(error):
                    raise
                is_idle = False
                if self._has_waited_enough():
                    return AWAY
            stop.wait(self._poll)
        return stop.status

    def _has_waited_enough(self) -> bool:
        """Note that the database is away; tell whether it has been for so long that this worker gives up."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._post.listener.note("the database went away; going on when it is back")
        if now - self._away_since < self._patience:
            return False
        self._post.listener.note("the database has not come back; start this worker again when it has")
        return True

    def _take_stock(self) -> None:
        """Free what dead processes left in a study that only this one works on."""
        self._post.jobs.release_dead()
        requeue_running(self._post.study)

    def _work(self) -> bool:
        """Do a job; False if there is none to be had now, and then note whether others are at any."""
        self._is_over = False
        if self._trials.do_next():
            return True
        if self._trials.unfinished():
            return False
        if refill(self._post.study, self._post.objective):
            return True
        if not self._in_finals:
            self._in_finals = True
            self._begin("finalists", len(self._finalists.remaining()))
        if self._finalists.do_next():
            return True
        self._is_over = not self._finalists.left
        return False

    def _begin(self, phase: str, items: int) -> None:
        if items:
            self._post.listener.begin(phase, items, self._post.config.training.epochs)

    def _give_up(self) -> None:
        if self._post.give_up:
            self._post.give_up()
