"""Idle workers ask little, and still notice everything that gives them something to do."""

import threading
import time

import pytest
from faults import write_study
from optuna.trial import TrialState
from sqlalchemy import event

from sfgsearch import Objective, create_study, load_config
from sfgsearch.search import missing_finalists, records_of
from sfgsearch.search._study import engine_of
from sfgsearch.workers import StopRequest, Worker
from sfgsearch.workers._watch import Watch

POLL = 0.125
"""Seconds; an eighth of the grace."""


class CountingStop(StopRequest):
    """Counts how often a worker found nothing to do."""

    polls = 0

    def wait(self, seconds):
        self.polls += 1
        return super().wait(seconds)


class Idle:
    """A worker that idles since another one holds all that is left; it sees to the other one's signs of life."""

    def __init__(self, path, url, count):
        self.config = load_config(path).with_overrides(storage=url)
        objective = Objective(self.config)
        self.study = create_study(self.config, objective=objective)
        self.jobs = records_of(self.study).jobs
        self.study.optimize(objective, n_trials=count)
        self.stop, self.beating = CountingStop(), threading.Event()
        self.worker = Worker(self.study, objective, stop=self.stop)
        self.thread = threading.Thread(target=self.worker.run)

    def hold(self, *keys):
        for key in keys:
            assert self.jobs.claim(key, "other", "other", None)
        self.keys = keys
        self.beats = threading.Thread(target=self._beat)
        self.beats.start()
        self.thread.start()
        self.wait_for(lambda: self.stop.polls > 6)

    def _beat(self):
        while not self.beating.wait(2 * POLL):
            for key in self.keys:
                self.jobs.beat(key, "other", 0, fruitful=True)

    def silence(self):
        self.beating.set()
        self.beats.join()

    def wait_for(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert condition()


@pytest.fixture
def idle(postgres, tmp_path):
    """Give a function that makes a study of two trials, of which so many are over, and an idle worker."""
    made = []

    def make(count):
        made.append(Idle(write_study(tmp_path, 2, epochs=1, grace=8 * POLL), postgres(), count))
        return made[0]

    yield make
    made[0].stop.terminate()
    made[0].silence()
    made[0].thread.join()


def finalists_of(idle):
    return [finalist.job for finalist in missing_finalists(idle.study, idle.config)]


def test_an_idle_worker_asks_one_question_per_poll(idle):
    worker = idle(2)
    worker.hold(*finalists_of(worker))
    asked = []

    def note(_connection, _cursor, statement, *_):
        if threading.current_thread() is worker.thread:
            asked.append(statement)

    event.listen(engine_of(worker.study._storage), "before_cursor_execute", note)
    before = worker.stop.polls
    worker.wait_for(lambda: worker.stop.polls >= before + 12)
    assert 10 <= len(asked) <= worker.stop.polls - before + 1
    assert not any("architectures" in statement for statement in asked), "nor does it read the study's records"


def test_an_idle_worker_notices_a_finalist_that_is_handed_back(idle):
    worker = idle(2)
    first, *others = finalists_of(worker)
    worker.hold(first, *others)
    assert worker.jobs.release(first, "other")
    worker.wait_for(lambda: first not in finalists_of(worker))
    assert finalists_of(worker) == others


def test_an_idle_worker_notices_finalists_whose_worker_falls_silent_and_ends_with_the_study(idle):
    worker = idle(2)
    worker.hold(*finalists_of(worker))
    worker.silence()
    worker.thread.join(60)
    assert not worker.thread.is_alive()
    assert finalists_of(worker) == []


@pytest.mark.parametrize("over", [1, 2])
def test_an_idle_worker_notices_a_trial_that_is_enqueued_from_outside(idle, over):
    worker = idle(over)
    if over == 1:
        worker.study.ask()  # what the other one trains
    worker.hold(*(["trial/1"] if over == 1 else finalists_of(worker)))
    worker.study.enqueue_trial({"kind": "learned"})
    worker.wait_for(lambda: worker.study.get_trials(deepcopy=False)[-1].state is TrialState.COMPLETE)


def test_an_idle_worker_notices_that_others_finished_the_last_trial(idle):
    worker = idle(1)
    trial = worker.study.ask()
    worker.hold(f"trial/{trial.number}")
    worker.study.tell(trial, state=TrialState.PRUNED)
    assert worker.jobs.finish(f"trial/{trial.number}", "other", 1)
    worker.thread.join(60)
    assert not worker.thread.is_alive()
    assert finalists_of(worker) == []


def test_a_worker_that_becomes_idle_again_looks_once_whatever_it_saw_before():
    """What others held may have ended, with nothing else begun, while it was at work."""

    class Quiet:
        any_silent = False

        def held(self):
            return frozenset()

    watch = Watch(None, Quiet())
    assert [watch.has_news(), watch.has_news()] == [True, False]
    watch.begin()
    assert watch.has_news()
