import threading

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from sfgsearch.storage import open_storage, reading_once, together


@pytest.fixture
def study(database):
    study = optuna.create_study(storage=open_storage(database))
    study.tell(study.ask(), 0.5)
    yield study
    study._storage.remove_session()
    study._storage._backend.engine.dispose()


@pytest.fixture
def statements(study):
    seen = []
    event.listen(study._storage._backend.engine, "before_cursor_execute", lambda *call: seen.append(call[2]))
    return seen


def other_process(study):
    """Return the study as another process has it."""
    return optuna.load_study(study_name=study.study_name, storage=open_storage(str_url(study)))


def str_url(study):
    return study._storage._backend.engine.url.render_as_string(hide_password=False)


def page_of(study):
    return study._storage.get_study_system_attrs(study._study_id)


def look(study):
    return [trial.state for trial in study.trials], study.user_attrs, page_of(study)


def test_a_study_is_read_once_in_the_block(study, statements):
    study.set_user_attr("of", 1)
    statements.clear()
    with reading_once(study._storage):
        assert look(study) == ([TrialState.COMPLETE], {"of": 1}, {})
        assert 0 < len(statements) <= 5
        statements.clear()
        assert look(study) == ([TrialState.COMPLETE], {"of": 1}, {})
        assert statements == []


def test_others_are_seen_again_after_the_block(study):
    other = other_process(study)
    with reading_once(study._storage):
        assert len(study.trials) == 1
        assert study.user_attrs == {}
        other.tell(other.ask(), 0.25)
        other.set_user_attr("of", 1)
        assert len(study.trials) == 1
        assert study.user_attrs == {}
    assert [trial.value for trial in study.trials] == [0.5, 0.25]
    assert study.user_attrs == {"of": 1}
    other._storage.remove_session()
    other._storage._backend.engine.dispose()


def test_attributes_that_the_block_sets_are_seen_in_it_before_they_are_written(study, statements):
    with reading_once(study._storage), together(study._storage):
        assert page_of(study) == {}
        statements.clear()
        study._storage.set_study_system_attr(study._study_id, "page", "text")
        assert page_of(study) == {"page": "text"}
        assert statements == []
        study.set_user_attr("of", (1, 2))
        assert study.user_attrs == {"of": [1, 2]}, "as it will be read"
    assert page_of(study) == {"page": "text"}


def test_trials_are_read_without_what_is_yet_to_be_written_about_them(study, statements):
    trial = study.ask()
    with together(study._storage), reading_once(study._storage):
        trial.set_user_attr("seed", 1)
        statements.clear()
        assert [trial.user_attrs for trial in study.trials] == [{}, {}]
        assert not any("INSERT" in statement for statement in statements)
    assert study.trials[1].user_attrs == {"seed": 1}


def test_a_study_without_a_finished_trial_is_read_once_too(study, statements):
    young = optuna.create_study(storage=study._storage, study_name="young")
    young.ask()
    with reading_once(young._storage):
        assert len(young.trials) == 1
        statements.clear()
        assert len(young.trials) == 1
        assert statements == []


def test_what_is_handed_out_may_be_changed(study):
    study.set_user_attr("of", [1])
    with reading_once(study._storage):
        study.user_attrs["of"].append(2)
        assert study.user_attrs == {"of": [1]}


def fail_while_reading_once(study):
    with reading_once(study._storage):
        assert study.user_attrs == {}
        raise ZeroDivisionError


def test_a_block_within_a_block_is_part_of_it(study, statements):
    with reading_once(study._storage):
        with reading_once(study._storage):
            assert study.user_attrs == {}
        statements.clear()
        assert study.user_attrs == {}
    assert statements == []


def test_an_error_ends_the_block(study, statements):
    with pytest.raises(ZeroDivisionError):
        fail_while_reading_once(study)
    statements.clear()
    assert study.user_attrs == {}
    assert len(statements) > 0


def test_other_threads_read_as_ever(study):
    seen = []
    with reading_once(study._storage):
        assert study.user_attrs == {}
        other = threading.Thread(target=lambda: (study.set_user_attr("of", 1), seen.append(dict(study.user_attrs))))
        other.start()
        other.join()
    assert seen == [{"of": 1}]


def test_storages_in_no_database_read_as_ever():
    study = optuna.create_study()
    with reading_once(study._storage):
        study.tell(study.ask(), 0.5)
        assert len(study.trials) == 1
