import json
import threading

import optuna
import pytest
import torch
from epoch_hook import EpochHook
from optuna.trial import TrialState
from optuna_dashboard import get_note
from sqlalchemy.exc import OperationalError

from sfgsearch import Objective, create_study
from sfgsearch._optuna import engine_of
from sfgsearch.methods import FixedAllocation
from sfgsearch.records import Lease
from sfgsearch.reporting._study_page import STATE
from sfgsearch.search import records_of
from sfgsearch.search._artifacts import read_artifact
from sfgsearch.storage import database_lock, open_storage
from sfgsearch.workers import StopRequest, Worker, WorkerListener, _trials
from sfgsearch.workers._leases import Leases

ONE = {
    "manual": {"methods": ["equal"]},
    "quota": {"learned": 0, "searched": 0},
    "comparison": {"manual": 0, "learned": 0, "searched": 0},
    "training": {"epochs": 3},
    "execution": {"checkpoint_every": 0.0, "retries": 1},
}


class Notes(WorkerListener):
    def __init__(self):
        self.lines, self.phases = [], []

    def begin(self, phase, items, epochs):
        self.phases.append((phase, items, epochs))

    def note(self, line):
        self.lines.append(line)


@pytest.fixture
def begin(study):
    """Create a study of one trial, and return it with a function that makes a worker."""

    def begin(on_epoch=None, **sections):
        config = study(**{**ONE, **sections})
        objective = Objective(config, [EpochHook(on_epoch)] if on_epoch else [])
        created = create_study(config, objective=objective)
        return created, lambda **options: Worker(created, objective, **options)

    return begin


def test_a_worker_does_all_there_is_and_leaves_nothing_behind(begin):
    notes = Notes()
    created, worker = begin(comparison={"seeds": 1, "manual": 1})
    assert worker(listener=notes).run() == 0
    assert notes.phases == [("trials", 1, 3), ("finalists", 1, 3)]
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE]
    assert [record.role for record in records_of(created).all()] == ["trial", "finalist"]
    assert all(job.finished and job.owner is None for job in records_of(created).jobs.all().values())


def test_the_studys_page_shows_the_end_and_its_failure_stops_nobody(begin, caplog):
    created, worker = begin(comparison={"seeds": 1, "manual": 1})
    assert worker().run() == 0
    assert "equal (manual) has no finalist of another kind" in get_note(created), "finalists are in it"
    created._storage.set_study_system_attr(created._study_id, STATE, "no JSON")
    assert worker().run() == 0
    assert "its page was not refreshed" in caplog.text


@pytest.mark.parametrize(("how", "status"), [("interrupt", 130), ("terminate", 143)])
def test_a_worker_that_leaves_hands_its_trial_on_at_the_epoch_it_reached(begin, how, status):
    stop, epochs = StopRequest(), []

    def on_epoch(_number, _name, report):
        epochs.append(report.epoch)
        if report.epoch == 1 and not stop.requested:
            getattr(stop, how)()

    created, worker = begin(on_epoch)
    assert worker(stop=stop).run() == status
    assert created.trials[0].state is TrialState.WAITING
    assert worker().run() == 0
    assert created.trials[0].state is TrialState.COMPLETE
    assert epochs == [0, 1, 2]


class PruneAfterThree(optuna.pruners.BasePruner):
    def prune(self, _study, trial):
        return trial.last_step >= 2


def test_a_trial_that_another_worker_prunes_keeps_the_epochs_of_both(begin, tmp_path):
    stop, epochs = StopRequest(), []

    def on_epoch(number, _name, report):
        if number == 0:
            epochs.append(report)
        if report.epoch == 1 and not stop.requested:
            stop.interrupt()

    sections = {"manual": {"methods": []}, "quota": {"searched": 1}, "training": {"epochs": 5}}
    created, worker = begin(on_epoch, **sections, review={"pictures": True})
    created.pruner = PruneAfterThree()
    worker(stop=stop).run()
    assert created.trials[0].state is TrialState.WAITING
    worker().run()
    assert created.trials[0].state is TrialState.PRUNED
    kept = json.loads(read_artifact(created, 0, "history.json", tmp_path / "tiny" / "artifacts"))
    assert kept["epochs"] == [report.to_dict() for report in epochs]
    assert [report.epoch for report in epochs] == [0, 1, 2]
    assert "after 3 epochs, when it was pruned" in get_note(optuna.Trial(created, created.trials[0]._trial_id))


def test_a_worker_that_lost_its_lease_drops_the_result(begin):
    notes, stop = Notes(), StopRequest()

    def on_epoch(_number, _name, report):
        if report.epoch == 1:
            jobs = records_of(created).jobs
            assert jobs.claim("trial/0", "another", "another", jobs.all()["trial/0"])
            stop.interrupt()

    created, worker = begin(on_epoch)
    worker(stop=stop, listener=notes).run()
    assert "went on elsewhere" in notes.lines[-1]
    assert records_of(created).all() == []
    assert records_of(created).jobs.all()["trial/0"].owner == "another"


def test_a_worker_that_lost_its_lease_leaves_the_artifacts_of_the_other_alone(begin, tmp_path):
    """It notices after its last epoch, when only the result is left to be kept."""
    stop = StopRequest()

    class LeavingNotes(Notes):
        def note(self, line):
            super().note(line)
            stop.interrupt()

    def on_epoch(_number, _name, report):
        if report.epoch == 2:
            jobs = records_of(created).jobs
            assert jobs.claim("trial/0", "another", "another", jobs.all()["trial/0"])

    notes = LeavingNotes()
    created, worker = begin(on_epoch, execution={"retries": 1})
    worker(stop=stop, listener=notes).run()
    assert "went on elsewhere" in notes.lines[-1]
    assert not [file for file in tmp_path.rglob("artifacts/*") if file.is_file()]


def test_a_trial_that_ends_while_a_worker_looks_at_its_job_is_not_taken_again(begin, monkeypatch):
    created, worker = begin()
    free = Leases.free

    def free_late(self, keys, **options):
        monkeypatch.setattr(Leases, "free", free)
        created.ask()
        created.tell(0, 0.5)
        return free(self, keys, **options)

    monkeypatch.setattr(Leases, "free", free_late)
    assert worker().run() == 0
    assert [trial.value for trial in created.trials] == [0.5]
    assert all(job.finished and job.owner is None for job in records_of(created).jobs.all().values())


def test_an_outage_that_hides_that_a_trial_was_told_costs_nothing(begin, monkeypatch):
    notes = Notes()
    created, worker = begin()
    tell, calls = created.tell, []

    def tell_unheard(*arguments):
        told = tell(*arguments)
        calls.append(told)
        raise OperationalError("", None, Exception("gone"), connection_invalidated=True)

    monkeypatch.setattr(created, "tell", tell_unheard)
    assert worker(listener=notes).run() == 0
    assert len(calls) == 1, "the second time Optuna says that the trial is over"
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE]
    (job,) = records_of(created).jobs.all().values()
    assert (job.finished, job.owner, job.claims, job.epoch, job.attempts_without_progress) == (True, None, 1, 3, 0)
    assert notes.lines == []


def test_a_trial_that_another_process_created_meanwhile_is_trained(begin):
    """Optuna's cache knows only of trials that this process has read or created."""
    created, worker = begin(sampler={"name": "random"}, pruner={"name": "none"}, quota={"learned": 1, "searched": 0})
    url = engine_of(created).url.render_as_string(hide_password=False)

    class Enqueuing(Notes):
        def trial_over(self, trial):
            if trial.number == 1:
                other = optuna.load_study(study_name=created.study_name, storage=open_storage(url))
                other.enqueue_trial({"kind": "learned"})
                engine_of(other).dispose()

    assert worker(listener=Enqueuing()).run() == 0
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE] * 3


def test_there_are_never_more_unfinished_trials_than_workers(study):
    config = study(training={"epochs": 1}, comparison={"learned": 0, "searched": 0, "manual": 0})
    created, unfinished = create_study(config, enqueue=False), []
    assert created.trials == []

    def count(*_):
        unfinished.append(sum(not trial.state.is_finished() for trial in created.trials))

    assert Worker(created, Objective(config, [EpochHook(count)])).run() == 0
    assert unfinished == [1] * len(created.trials)
    assert len(created.trials) == sum(config.budget.values())


def test_a_worker_that_died_between_the_end_of_a_trial_and_of_its_job_leaves_nothing_to_be_done(begin, monkeypatch):
    created, worker = begin()

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "finish", die)
        patch.setattr(Lease, "release", lambda _self: None)
        with pytest.raises(KeyboardInterrupt):
            worker().run()
    assert records_of(created).jobs.all()["trial/0"].owner is not None
    assert worker().run() == 0
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE]


def test_a_process_that_is_paused_with_the_lock_of_the_plan_stops_no_worker(begin, monkeypatch):
    monkeypatch.setattr(_trials, "_LOCK_SECONDS", 0.05)
    created, worker = begin()
    stop = StopRequest()
    with database_lock(engine_of(created), f"study {created.study_name}"):
        timer = threading.Timer(1.0, stop.terminate)
        timer.start()
        assert worker(stop=stop).run() == 143
        timer.join()
    assert [trial.state for trial in created.trials] == [TrialState.WAITING]
    assert worker().run() == 0
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE]


def test_memory_that_runs_out_fails_the_trial_and_not_the_worker(begin, monkeypatch):
    def hungry(*_):
        return torch.empty(2**60)

    created, worker = begin()
    monkeypatch.setattr(FixedAllocation, "build", hungry)
    assert worker().run() == 0
    assert [trial.state for trial in created.trials] == [TrialState.FAIL] * 2, "tried again once"
    assert "out of memory on cpu with batch size 540" in created.trials[0].user_attrs["failure"]
    assert created.trials[1].user_attrs["retry_of"] == 0


def test_a_checkpoint_that_cannot_be_written_fails_the_trial_with_its_reason(begin, tmp_path):
    created, worker = begin()
    (tmp_path / "tiny" / "checkpoints").write_text("in the way")
    assert worker().run() == 0
    assert {trial.state for trial in created.trials} == {TrialState.FAIL}
    assert str(tmp_path / "tiny" / "checkpoints") in created.trials[0].user_attrs["failure"]


@pytest.mark.parametrize("spoilt", [1, 2])
def test_a_corrupt_checkpoint_is_passed_over_and_said(begin, tmp_path, spoilt):
    stop, notes, epochs = StopRequest(), Notes(), []

    def on_epoch(_number, _name, report):
        epochs.append(report.epoch)
        if report.epoch == 1 and not stop.requested:
            stop.interrupt()

    created, worker = begin(on_epoch)
    worker(stop=stop).run()
    files = sorted((tmp_path / "tiny" / "checkpoints" / "trial-0").glob("*.safetensors"))
    assert len(files) == 2
    for file in files[-spoilt:]:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    assert worker(listener=notes).run() == 0
    assert created.trials[0].state is TrialState.COMPLETE
    assert epochs == ([0, 1, 1, 2] if spoilt == 1 else [0, 1, 0, 1, 2])
    assert len(notes.lines) >= spoilt
    assert all(line.startswith("trial/0: ") for line in notes.lines)


def test_a_trial_that_kills_its_workers_is_given_up(begin):
    created, worker = begin()
    jobs = records_of(created).jobs
    for owner in ("first", "second"):
        assert jobs.claim("trial/0", owner, owner, jobs.all().get("trial/0"))
    assert worker().run() == 0
    assert [trial.state for trial in created.trials] == [TrialState.FAIL]
    assert "died 2 times" in created.trials[0].user_attrs["failure"]


def test_a_trial_that_a_user_enqueued_beyond_the_quota_is_trained(begin):
    created, worker = begin()
    created.enqueue_trial({"kind": "learned", "learned.lr": 0.05, "learned.kl_weight": 1.0})
    assert worker().run() == 0
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE] * 2
    assert created.trials[1].params["learned.lr"] == 0.05
