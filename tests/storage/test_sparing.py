"""Optuna's own storage is the reference: what is read sparingly must not differ from what it reads."""

from contextlib import contextmanager

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event

from sfgsearch.search._queue import requeue
from sfgsearch.storage import engine_options, open_storage


@pytest.fixture(params=["postgresql", "sqlite", "mariadb"])
def url(request, tmp_path):
    server = {"postgresql": "postgres", "mariadb": "mariadb"}.get(request.param)
    return request.getfixturevalue(server)() if server else f"sqlite:///{tmp_path}/study.db"


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
    ours, _ = studies
    for _ in range(50):
        ours.enqueue_trial({"x": 0.5})
    ours.get_trials()
    with statements(ours) as executed:
        assert len(ours.get_trials()) == 50
    rows, study = executed
    assert "FROM trials" in rows
    assert "FROM studies" in study, "only where no row came: no trial may have changed, so is there a study at all?"


def test_reading_takes_two_statements_where_optuna_takes_six(studies):
    ours, theirs = studies
    trial = ours.ask()
    trial.suggest_float("x", 0, 1)
    for study, expected in ((ours, 2), (theirs, 6)):
        with statements(study) as executed:
            study._storage.get_trial(trial._trial_id)
        assert len(executed) == expected


@contextmanager
def statements(study):
    """Collect the statements that a study's storage executes in the block."""
    executed, engine = [], study._storage._backend.engine

    def execute(_connection, _cursor, statement, *_):
        executed.append(statement)

    event.listen(engine, "after_cursor_execute", execute)
    try:
        yield executed
    finally:
        event.remove(engine, "after_cursor_execute", execute)


def test_a_study_under_the_id_of_a_deleted_one_has_its_own_trials(studies):
    ours, _ = studies
    ours.enqueue_trial({"x": 0.5})
    assert len(ours.trials) == 1
    backend = ours._storage._backend
    optuna.delete_study(study_name="s", storage=backend)
    again = optuna.create_study(study_name="s", storage=backend)
    again.enqueue_trial({"x": 0.25})
    (trial,) = again.trials
    assert trial.system_attrs["fixed_params"] == {"x": 0.25}


def test_studies_in_one_database_are_kept_apart(studies):
    ours, _ = studies
    ours.enqueue_trial({"x": 0.1})
    other = optuna.create_study(study_name="other", storage=ours._storage._backend)
    other.enqueue_trial({"x": 0.2})
    for study, x in ((ours, 0.1), (other, 0.2), (ours, 0.1)):
        (trial,) = study.get_trials()
        assert trial.system_attrs["fixed_params"] == {"x": x}
