"""Plain ``study.optimize`` on a server, beside workers."""

import os
import signal
import time

import pytest
from faults import optimize_one_trial, pause_file, read_journal, start_slow_worker, write_study
from optuna.trial import TrialState

from sfgsearch import Objective, create_study, load_config
from sfgsearch.search import records_of
from sfgsearch.workers import StopRequest, Worker
from sfgsearch.workers._leases import Leases

pytestmark = pytest.mark.slow


def prepare(path, url):
    config = load_config(path).with_overrides(storage=url)
    return create_study(config, objective=Objective(config)), config


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def test_workers_leave_a_trial_alone_that_optimize_trains(postgres, tmp_path):
    path, url = write_study(tmp_path, 2, epochs=6, grace=1.0), postgres()
    pause_file(path).write_text("0.5")
    study, config = prepare(path, url)
    process = start_slow_worker(path, url, optimize_one_trial)
    wait_for(lambda: read_journal(config))
    assert Worker(study, Objective(config)).run() == 0
    process.join(60)
    assert process.exitcode == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert {job.claims for job in records_of(study).jobs.all().values()} == {1}
    first = [entry["epoch"] for entry in read_journal(config) if entry["trial"] == 0]
    assert first == list(range(6)), "trained by one process, once"


def test_workers_take_over_what_a_dead_optimize_left(postgres, tmp_path):
    path, url = write_study(tmp_path, 1, epochs=6, grace=1.0), postgres()
    pause_file(path).write_text("0.5")
    study, config = prepare(path, url)
    process = start_slow_worker(path, url, optimize_one_trial)
    wait_for(lambda: len(read_journal(config)) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Worker(study, Objective(config)).run() == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
    assert records_of(study).jobs.all()["trial/0"].claims == 2


def test_a_trial_that_optimize_begins_while_a_worker_reaches_for_it_is_left_to_it(postgres, tmp_path, monkeypatch):
    path, url = write_study(tmp_path, 1), postgres()
    study, config = prepare(path, url)
    take, stop = Leases.take, StopRequest()

    def take_late(self, key, seen):
        study.ask()
        stop.terminate()
        return take(self, key, seen)

    monkeypatch.setattr(Leases, "take", take_late)
    assert Worker(study, Objective(config), stop=stop).run() == 143
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    assert {job.owner for job in records_of(study).jobs.all().values()} == {None}
