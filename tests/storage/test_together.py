import threading

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from sfgsearch.storage import open_storage, together

SOME = {"seed": 3, "name": "équal", "relative_error": 0.25, "nothing": None}


@pytest.fixture
def study(database):
    study = optuna.create_study(storage=open_storage(database))
    yield study
    study._storage.remove_session()
    study._storage._backend.engine.dispose()


@pytest.fixture
def commits(study):
    commits = []
    event.listen(study._storage._backend.engine, "commit", commits.append)
    return commits


def write(trial, attributes=SOME):
    for key, value in attributes.items():
        trial.set_user_attr(key, value)


def write_together(*trials):
    with together(trials[0].storage):
        for trial in trials:
            write(trial)


def write_and_raise(trial, error):
    with together(trial.storage):
        write(trial)
        raise error


def stored(study):
    """Return the first trial as Optuna's own code reads it."""
    return optuna.storages.RDBStorage.get_trial(study._storage._backend, study.trials[0]._trial_id)


def test_all_kinds_of_writes_are_stored_as_optuna_stores_them_in_one_transaction(study, commits):
    trial = study.ask()
    commits.clear()
    with together(study._storage):
        x, kind = trial.suggest_float("x", 0.1, 1, log=True), trial.suggest_categorical("kind", ["a", "b"])
        write(trial)
        trial.storage.set_trial_system_attr(trial._trial_id, "hidden", [1, 2])
        study._storage.set_study_system_attr(study._study_id, "page", "text")
        for epoch, score in enumerate([0.5, float("nan"), float("inf")]):
            trial.report(score, epoch)
        assert not commits
    assert len(commits) == 1
    found = stored(study)
    assert found.params == trial.params == {"x": x, "kind": kind}
    assert found.distributions == trial.distributions
    assert found.user_attrs == SOME
    assert found.system_attrs == {"hidden": [1, 2]}
    assert str(found.intermediate_values) == "{0: 0.5, 1: nan, 2: inf}"
    assert study._storage.get_study_system_attrs(study._study_id) == {"page": "text"}


def test_what_is_there_is_replaced_and_the_last_value_stays(study):
    trial = study.ask()
    trial.set_user_attr("seed", 1)
    with together(study._storage):
        write(trial)
        write(trial, {"seed": 4})
    with together(study._storage):
        write(trial, {"name": "other"})
    assert stored(study).user_attrs == SOME | {"seed": 4, "name": "other"}


def test_this_thread_reads_what_it_wrote(study):
    trial = study.ask()
    with together(study._storage):
        write(trial)
        assert study.trials[0].user_attrs == SOME
        write(trial, {"more": 1})
        study._storage.set_study_system_attr(study._study_id, "page", "text")
        assert study._storage.get_study_system_attrs(study._study_id) == {"page": "text"}
        write(trial, {"last": 2})
        study.tell(trial, 0.5)
    found = stored(study)
    assert (found.user_attrs, found.state) == (SOME | {"more": 1, "last": 2}, TrialState.COMPLETE)


def test_other_threads_write_as_ever(study):
    trial = study.ask()
    with together(study._storage):
        write(trial, {"waits": 1})
        other = threading.Thread(target=lambda: study._storage.set_trial_user_attr(trial._trial_id, "now", 2))
        other.start()
        other.join()
        assert optuna.storages.RDBStorage.get_trial(study._storage._backend, trial._trial_id).user_attrs == {"now": 2}
    assert stored(study).user_attrs == {"now": 2, "waits": 1}


def test_a_block_within_a_block_is_part_of_it(study, commits):
    trial = study.ask()
    commits.clear()
    with together(study._storage), together(study._storage):
        write(trial)
    assert len(commits) == 1


def test_what_was_written_before_an_error_is_kept(study):
    trial = study.ask()
    with pytest.raises(ZeroDivisionError):
        write_and_raise(trial, ZeroDivisionError())
    assert stored(study).user_attrs == SOME
    trial.set_user_attr("later", 1)
    assert stored(study).user_attrs == SOME | {"later": 1}, "the block is over"


def test_nothing_is_written_when_the_database_is_away(study):
    trial = study.ask()
    away = OperationalError("", None, Exception("gone"), connection_invalidated=True)
    with pytest.raises(OperationalError):
        write_and_raise(trial, away)
    assert stored(study).user_attrs == {}


def test_a_trial_that_is_over_is_refused_with_all_of_the_block(study):
    trial, other = study.ask(), study.ask()
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        write_together(other, trial)
    assert [trial.user_attrs for trial in study.trials] == [{}, {}]


def test_a_trial_that_is_not_there_is_refused(study):
    with pytest.raises(KeyError), together(study._storage):
        study._storage.set_trial_user_attr(12345, "seed", 1)


def test_a_parameter_of_another_kind_than_in_other_trials_is_refused(study):
    study.ask().suggest_float("x", 0, 1)
    later = optuna.load_study(study_name=study.study_name, storage=study._storage._backend)
    with pytest.raises(ValueError, match="Cannot set different distribution kind"), together(later._storage):
        later.ask().suggest_categorical("x", ["a"])


@pytest.mark.parametrize("make", [lambda: optuna.create_study().ask(), lambda: optuna.trial.FixedTrial({})])
def test_storages_in_no_database_write_at_once(make):
    trial = make()
    with together(getattr(trial, "storage", optuna.storages.InMemoryStorage())):
        write(trial)
        assert trial.user_attrs == SOME


def test_an_outage_at_the_end_of_the_block_is_outlasted(postgres):
    study = optuna.create_study(storage=open_storage(postgres(), patience=60))
    trial = study.ask()
    with together(study._storage):
        write(trial)
        postgres.restart()
    assert study.trials[0].user_attrs == SOME
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
