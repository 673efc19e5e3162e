"""Optuna's own storage is the reference: what is read sparingly must not differ from what it reads."""

from contextlib import contextmanager

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy import event

from sfgsearch.search._queue import requeue
from sfgsearch.storage import engine_options, open_storage


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request, tmp_path):
    return request.getfixturevalue("postgres")() if request.param == "postgresql" else f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def studies(url):
    """Give the same study as it is read sparingly, and as Optuna reads it."""
    ours = optuna.create_study(study_name="s", storage=open_storage(url))
    theirs = optuna.load_study(study_name="s", storage=RDBStorage(url, engine_kwargs=engine_options(url)))
    yield ours, theirs
    for study in (ours, theirs):
        study._storage.remove_session()
        study._storage._backend.engine.dispose()


def contents(study):
    return [vars(trial) | {"params": trial.params} for trial in study.get_trials()]


def test_every_reading_is_what_optuna_reads(studies):
    ours, theirs = studies
    for number in range(6):
        ours.enqueue_trial({"x": number / 10})
    assert contents(ours) == contents(theirs)
    trial = theirs.ask()  # another process begins a trial, and changes it
    trial.suggest_float("x", 0, 1)
    trial.report(0.5, 0)
    assert contents(ours) == contents(theirs)
    theirs.tell(trial, 0.25)
    theirs.enqueue_trial({"x": 0.9})
    assert contents(ours) == contents(theirs)
    theirs._storage.set_trial_state_values(ours.trials[3]._trial_id, TrialState.FAIL)
    assert contents(ours) == contents(theirs)
    assert [trial.state for trial in ours.trials].count(TrialState.WAITING) == 5


def test_a_trial_that_ran_between_two_readings_and_waits_again_is_read_again(studies):
    ours, theirs = studies
    ours.enqueue_trial({"x": 0.5})
    assert ours.trials[0].params == {}
    trial = theirs.ask()
    trial.suggest_float("x", 0, 1)
    trial.report(0.1, 0)
    requeue(theirs, trial._trial_id)
    (read,) = ours.trials
    assert (read.state, read.params, read.intermediate_values) == (TrialState.WAITING, {"x": 0.5}, {0: 0.1})


def test_waiting_trials_are_read_once(studies):
    ours, theirs = studies
    for _ in range(50):
        ours.enqueue_trial({"x": 0.5})
    for study, expected in ((theirs, 50), (ours, 0)):
        study.get_trials()
        with loaded_trials() as loaded:
            study.get_trials()
        assert len(loaded) == expected


@contextmanager
def loaded_trials():
    """Collect the trials that are loaded from any database in the block."""
    loaded = []

    def load(target, _context):
        loaded.append(target)

    event.listen(TrialModel, "load", load)
    try:
        yield loaded
    finally:
        event.remove(TrialModel, "load", load)


def test_studies_in_one_database_are_kept_apart(studies):
    ours, _ = studies
    ours.enqueue_trial({"x": 0.1})
    other = optuna.create_study(study_name="other", storage=ours._storage._backend)
    other.enqueue_trial({"x": 0.2})
    for study, x in ((ours, 0.1), (other, 0.2), (ours, 0.1)):
        (trial,) = study.get_trials()
        assert trial.system_attrs["fixed_params"] == {"x": x}
