"""Creating and continuing studies in a database."""

import hashlib
import sqlite3

import optuna
import pytest

from sfgsearch import Objective, create_study
from sfgsearch.errors import ConfigError, RecordsError, StudyError
from sfgsearch.records import SCHEMA_VERSION
from sfgsearch.search import WithinKindPruner, load_study, records_of


def test_creating_again_continues(study):
    config = study()
    created = create_study(config)
    again = create_study(config)
    assert again.study_name == created.study_name == "tiny"
    assert len(again.trials) == 8


def test_sampler_and_pruner_come_from_the_file(study):
    created = create_study(study(sampler={"name": "random"}, pruner={"name": "none"}))
    assert isinstance(created.sampler, optuna.samplers.RandomSampler)
    assert isinstance(created.pruner, optuna.pruners.NopPruner)
    created = create_study(study())
    assert isinstance(created.sampler, optuna.samplers.TPESampler)
    assert isinstance(created.pruner, WithinKindPruner)


def test_a_storage_of_ones_own(study):
    storage = optuna.storages.InMemoryStorage()
    created = create_study(study(), storage=storage)
    assert created._storage is storage
    assert records_of(created) is None


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"training": {"epochs": 3}}, "training.epochs is 3, but the study 'tiny' was created with 2"),
        ({"data": {"shift": 1}}, "data.shift is 1"),
        ({"backbone": {"norm": "instance"}}, "backbone.norm"),
        ({"learned": {"kl_weight": 1.0}}, "learned.kl_weight"),
        ({"study": {"seed": 1}}, "study.seed is 1"),
        ({"tasks": {"first": {"weight": 2.0}}}, "tasks.first.weight"),
    ],
)
def test_settings_that_trials_depend_on_cannot_change(study, sections, key):
    before = len(create_study(study()).trials)
    with pytest.raises(StudyError) as error:
        create_study(study(**sections))
    assert key in str(error.value)
    assert "study.name" in str(error.value)
    assert len(load_study(study()).trials) == before


@pytest.mark.parametrize(
    "sections",
    [
        {"quota": {"learned": 4}},
        {"comparison": {"seeds": 4}},
        {"training": {"device": "auto", "threads": 1}},
        {"manual": {"allocations": {"mine": {"*": [0.5, 0.0, 0.5]}}}},
        {"sampler": {"name": "random"}},
    ],
)
def test_settings_that_trials_do_not_depend_on_may_change(study, sections):
    create_study(study())
    create_study(study(**sections))


def test_a_study_that_does_not_exist_is_not_created_by_looking(study, tmp_path):
    with pytest.raises(StudyError, match=r"no study yet.*sfgsearch run"):
        load_study(study())
    assert not (tmp_path / "tiny").exists()
    create_study(study())
    with pytest.raises(StudyError, match="no study 'another'"):
        load_study(study(study={"name": "another", "folder": "tiny"}))


def test_a_database_of_another_schema_version_stays_untouched(study, tmp_path):
    config = study()
    records_of(create_study(config))
    database = tmp_path / "tiny" / "study.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE sfgsearch_schema SET version = 99")
    connection.close()
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    for call in (create_study, load_study):
        with pytest.raises(RecordsError) as error:
            call(config)
        assert "schema version 99" in str(error.value)
        assert f"reads version {SCHEMA_VERSION}" in str(error.value)
        assert "another database" in str(error.value)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_a_study_that_cannot_be_built_is_not_created(study, tmp_path):
    with pytest.raises(ConfigError, match="no backbone is called 'vgg12'"):
        create_study(study(backbone={"name": "vgg12"}))
    with pytest.raises(ConfigError, match="would read nothing"):
        create_study(study(manual={"allocations": {"mine": {"conv1": [2, 2, 0], "conv2": [2, 2, 2]}}}))
    assert not (tmp_path / "tiny").exists()


def test_a_foreign_study_of_the_same_name_is_left_alone(study, tmp_path):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    optuna.create_study(study_name="tiny", storage=url, direction="maximize")
    with pytest.raises(StudyError, match=r"maximises.*another name"):
        create_study(study(), storage=url)
    optuna.create_study(study_name="two", storage=url, directions=["minimize", "minimize"])
    with pytest.raises(StudyError, match="asks for 1 objectives"):
        create_study(study(study={"name": "two"}), storage=url)
    assert all(not optuna.load_study(study_name=name, storage=url).trials for name in ("tiny", "two"))


def test_looking_into_a_foreign_database_changes_nothing(study, tmp_path):
    database = tmp_path / "foreign.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE own (x INTEGER)")
    connection.close()
    before = database.read_bytes()
    with pytest.raises(StudyError, match="no study 'tiny'"):
        load_study(study(), f"sqlite:///{database}")
    assert database.read_bytes() == before


def test_options_of_a_method_that_has_run_cannot_change(study):
    def config(samples):
        manual = {"methods": ["constant_probabilities"], "options": {"constant_probabilities": {"samples": samples}}}
        return study(manual=manual, quota={"learned": 0, "searched": 0}, training={"epochs": 1})

    create_study(config(1)).optimize(Objective(config(1)), n_trials=1)
    with pytest.raises(StudyError, match=r"manual\.options\.constant_probabilities\.samples is 2"):
        create_study(config(2))


def test_a_folder_with_odd_characters(study):
    config = study(study={"folder": "what?now=1 %20#b"})
    create_study(config)
    assert (config.folder / "study.db").exists()


@pytest.mark.parametrize("url", ["not a url", "nodatabase://user:hunter2@host/db", "sqlite:////proc/nope/x.db"])
def test_a_bad_storage_is_an_error_without_the_password(study, url):
    with pytest.raises((StudyError, RecordsError)) as error:
        create_study(study(), storage=url)
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_no_database_is_an_error(study, tmp_path):
    (tmp_path / "broken.db").write_text("this is no database" * 100)
    with pytest.raises(RecordsError, match="cannot open the database"):
        create_study(study(), storage=f"sqlite:///{tmp_path / 'broken.db'}")


def test_a_deleted_study_leaves_no_records_to_its_namesake(study):
    config = study(manual={"methods": ["equal"]}, quota={"learned": 0, "searched": 1}, training={"epochs": 1})
    created = create_study(config)
    created.optimize(Objective(config), n_trials=1)
    assert len(records_of(created).all()) == 1
    optuna.delete_study(study_name="tiny", storage=config.storage)
    assert records_of(create_study(config)).all() == []
