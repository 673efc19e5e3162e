import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy import event

from sfgsearch.search._attributes import set_user_attrs
from sfgsearch.storage import open_storage

SOME = {"seed": 3, "name": "équal", "relative_error": 0.25, "nothing": None}


@pytest.fixture
def study(tmp_path):
    study = optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/study.db"))
    yield study
    study._storage._backend.engine.dispose()


def stored(study):
    return study._storage._backend.get_all_trials(study._study_id)[0].user_attrs


def test_attributes_are_stored_as_optuna_stores_them_in_one_transaction(study):
    trial, commits = study.ask(), []
    event.listen(study._storage._backend.engine, "commit", commits.append)
    set_user_attrs(trial, SOME)
    assert len(commits) == 1
    assert stored(study) == trial.user_attrs == SOME


def test_attributes_that_are_there_are_replaced(study):
    trial = study.ask()
    trial.set_user_attr("seed", 1)
    set_user_attrs(trial, SOME)
    assert stored(study) == SOME


def test_setting_them_again_after_an_outage_that_hid_it_changes_nothing(study):
    trial = study.ask()
    hidden = optuna.Trial(study, trial._trial_id)
    set_user_attrs(trial, SOME)
    set_user_attrs(hidden, SOME | {"seed": 4})
    assert stored(study) == SOME | {"seed": 4}


def test_a_trial_that_is_over_is_refused(study):
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(UpdateFinishedTrialError):
        set_user_attrs(trial, SOME)
    assert stored(study) == {}


@pytest.mark.parametrize("make", [lambda: optuna.create_study().ask(), lambda: optuna.trial.FixedTrial({})])
def test_trials_in_no_database_work_too(make):
    trial = make()
    set_user_attrs(trial, SOME)
    assert trial.user_attrs == SOME
