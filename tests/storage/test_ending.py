import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import event, text

from sfgsearch.storage import ending, open_storage


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "plain"])
def study(request, tmp_path):
    """A study in our storage, or in Optuna's own, with a table beside it."""
    server = {"postgresql": "postgres", "mariadb": "mariadb"}.get(request.param)
    url = request.getfixturevalue(server)() if server else f"sqlite:///{tmp_path}/study.db"
    storage = optuna.storages.RDBStorage(url) if request.param == "plain" else open_storage(url)
    with storage.engine.begin() as connection:
        connection.execute(text("CREATE TABLE beside (what INTEGER)"))
    study = optuna.create_study(storage=storage)
    yield study
    study._storage.remove_session()
    storage.engine.dispose()


def note(connection):
    connection.execute(text("INSERT INTO beside VALUES (1)"))


def note_and_fail(connection):
    note(connection)
    raise ZeroDivisionError


def tell(study, trial, also):
    with ending(study._storage, trial._trial_id, also):
        study.tell(trial, 0.5)


def rows(study):
    with study._storage._backend.engine.connect() as connection:
        return connection.execute(text("SELECT COUNT(*) FROM beside")).scalar()


def test_both_happen(study):
    tell(study, study.ask(), note)
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, 0.5)]
    assert rows(study) == 1
    study.tell(study.ask(), 0.25)
    assert rows(study) == 1, "the block is over"


def test_an_error_of_the_other_leaves_the_trial_running(study):
    trial = study.ask()
    with pytest.raises(ZeroDivisionError):
        tell(study, trial, note_and_fail)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    assert rows(study) == 0
    tell(study, trial, note)
    assert (study.trials[0].state, rows(study)) == (TrialState.COMPLETE, 1)


def change_finished(study, trial):
    with ending(study._storage, trial._trial_id, note):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


@pytest.mark.parametrize("study", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_a_trial_that_is_over_takes_the_other_with_it(study):
    trial = study.ask()
    study.tell(trial, 0.5)
    with pytest.raises(UpdateFinishedTrialError):
        change_finished(study, trial)
    assert rows(study) == 0


@pytest.mark.parametrize("study", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_other_trials_have_their_own(study):
    trial, other, third = study.ask(), study.ask(), study.ask()
    with ending(study._storage, trial._trial_id, note):
        study.tell(third, 0.5)
        assert rows(study) == 0
        tell(study, other, note)
        assert rows(study) == 1
        study.tell(trial, 0.5)
    assert rows(study) == 2


@pytest.mark.parametrize("study", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_it_is_one_transaction(study):
    trial, commits = study.ask(), []
    event.listen(study._storage._backend.engine, "commit", commits.append)
    tell(study, trial, note)
    assert len(commits) == 1
