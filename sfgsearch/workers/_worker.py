"""A worker: takes one job of a study after the other until there is none."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial

import optuna

from sfgsearch.errors import StudyError
from sfgsearch.search import PlainObjective, records_of
from sfgsearch.search._leasing import owner_key, process_name
from sfgsearch.search._outstanding import outstanding_trials
from sfgsearch.search._queue import requeue_running
from sfgsearch.search._study import as_planned, is_single_process, seed_of, trial_sampler
from sfgsearch.storage import is_outage
from sfgsearch.workers._context import WorkerContext, checkpoint_folder
from sfgsearch.workers._finalists import FinalistRunner
from sfgsearch.workers._leases import Leases
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._stop import StopRequest
from sfgsearch.workers._trials import TrialRunner

AWAY = 75
"""Exit status of a worker whose database did not come back: what sysexits.h has for failures that may pass."""

_LONGEST_POLL_SECONDS = 5.0


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
        outage_seconds: For how long it tries again when the database is away; connections wait besides.

    Raises:
        StudyError: If the study is not in a database, or was begun with other data or another network.
    """

    def __init__(
        self,
        study: optuna.Study,
        objective: PlainObjective,
        *,
        owner: str | None = None,
        name: str | None = None,
        stop: StopRequest | None = None,
        listener: WorkerListener | None = None,
        sampler: Callable[[int], optuna.samplers.BaseSampler] | None = None,
        outage_seconds: float = 600.0,
    ) -> None:
        records = records_of(study)
        if records is None:
            raise StudyError("a worker needs a study in a database; give study.storage the URL of one")
        objective.check(study)
        config = objective.config
        name = name or process_name()
        self._is_alone = is_single_process(study)
        leases = Leases(
            records.jobs, owner or owner_key(name), name, config.execution.grace, threaded=not self._is_alone
        )
        self._context = WorkerContext(
            study, objective, records, leases, stop or StopRequest(), listener or WorkerListener()
        )
        self._poll_seconds = min(config.execution.grace / 8, _LONGEST_POLL_SECONDS)
        self._trials = TrialRunner(self._context, sampler or partial(trial_sampler, config, seed_of(study, config)))
        self._finalists = FinalistRunner(self._context)
        self._in_finals = False
        self._outage_seconds = outage_seconds
        self._away_since: float | None = None

    def run(self) -> int:
        """Work until nothing is left to do, or until asked to leave.

        Returns:
            The exit status: 0, 128 + the signal that asked to leave, or 75 if the database did not come back.

        Raises:
            KeyboardInterrupt: At the second SIGINT.
        """
        context = self._context
        with context.stop.listening(self._hand_back):
            if self._is_alone:
                self._free_leftovers()
            plan = as_planned(context.study, context.config)
            self._begin("trials", outstanding_trials(context.study.get_trials(deepcopy=False), plan).unfinished)
            return self._work_until_over(context.stop)

    def _work_until_over(self, stop: StopRequest) -> int:
        while not stop.requested:
            try:
                has_worked = self._run_next()
                self._away_since = None
                if has_worked:
                    continue
                if self._trials.is_over and self._finalists.is_over:
                    self._context.refresh_page(at_end=True)
                    shutil.rmtree(checkpoint_folder(self._context.config), ignore_errors=True)
                    break
            except Exception as error:
                if not is_outage(error):
                    raise
                if self._has_waited_enough():
                    return AWAY
            stop.wait(self._poll_seconds)
        return stop.status

    def _run_next(self) -> bool:
        """Do a job: trials first, and finalists when all trials are over; False if there is none to be had now."""
        if self._trials.run_next():
            return True
        if not self._trials.is_over:
            return False
        if not self._in_finals:
            self._in_finals = True
            self._begin("finalists", len(self._finalists.remaining()))
        return self._finalists.run_next()

    def _has_waited_enough(self) -> bool:
        """Note that the database is away; tell whether it has been for so long that this worker gives up."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._context.listener.note("the database went away; going on when it is back")
        if now - self._away_since < self._outage_seconds:
            return False
        self._context.listener.note("the database has not come back; start this worker again when it has")
        return True

    def _free_leftovers(self) -> None:
        """Free what dead processes left in a study that only this one works on."""
        self._context.leases.jobs.release_dead()
        requeue_running(self._context.study)

    def _begin(self, phase: str, items: int) -> None:
        if items:
            self._context.listener.begin(phase, items, self._context.config.training.epochs)

    def _hand_back(self) -> None:
        if self._context.hand_back:
            self._context.hand_back()
