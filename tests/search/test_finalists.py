"""Finalists: selected on validation data, retrained, tested once."""

import shutil
from dataclasses import replace

import optuna
import pytest
from study_fixtures import write_study

from sfgsearch import Objective, create_study, load_config
from sfgsearch.allocation import Allocation
from sfgsearch.config import ComparisonSection
from sfgsearch.methods import StochasticFilterGroups
from sfgsearch.records import ArchitectureRecord
from sfgsearch.search import current_finalists, missing_finalists, records_of, retrain_finalists, select_finalists
from sfgsearch.search._space import suggest_learned

FILTERS = {"conv1": 4, "conv2": 6}


def record(kind, name, trial, score):
    return ArchitectureRecord(
        trial=trial,
        role="trial",
        kind=kind,
        name=name,
        backbone={},
        image_shape=(1, 8, 8),
        tasks=[{"type": "classification", "name": "a", "num_classes": 3}],
        structure={"kind": "allocated", "assignments": {}, "separate": False},
        allocation=Allocation.equal(FILTERS, ("a", "b")),
        seed=0,
        epochs=1,
        parameters=1,
        macs=1,
        metrics={"validation": {"a/accuracy": 0.5}},
        units={"a/accuracy": "fraction"},
        scores={"validation": score},
        training_seconds=1.0,
    )


TRIALS = [
    record("learned", "learned-0", 0, 0.3),
    record("learned", "learned-1", 1, 0.1),
    record("searched", "searched-2", 2, 0.2),
    record("manual", "equal", 3, 0.6),
    record("manual", "hard_sharing", 4, 0.5),
]


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ({}, ["learned-1", "searched-2", "hard_sharing", "equal"]),
        ({"learned": 2, "manual": 1}, ["learned-1", "learned-0", "searched-2", "hard_sharing"]),
        ({"learned": 0, "searched": 5, "manual": 0}, ["searched-2"]),
    ],
)
def test_the_best_of_each_kind_are_selected_on_validation(section, names):
    assert [chosen.name for chosen in select_finalists(TRIALS, ComparisonSection(**section))] == names


def test_a_manual_method_that_ran_twice_is_one_finalist():
    twice = [*TRIALS, replace(TRIALS[3], trial=9, scores={"validation": 0.55})]
    chosen = [chosen for chosen in select_finalists(twice, ComparisonSection()) if chosen.name == "equal"]
    assert [record.trial for record in chosen] == [9]


def test_a_second_run_of_a_manual_method_does_not_cost_it_its_rank():
    twice = [*TRIALS, replace(TRIALS[4], trial=9, scores={"validation": 0.7})]
    chosen = select_finalists(twice, ComparisonSection(learned=0, searched=0, manual=1))
    assert [record.trial for record in chosen] == [4]


SECTIONS = {
    "manual": {"methods": ["equal", "constant_probabilities"]},
    "quota": {"learned": 1, "searched": 1},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Train all trials of a study, once for all tests of this file, and return its file."""
    path = write_study(tmp_path_factory.mktemp("searched"), **SECTIONS)
    objective = Objective(load_config(path))
    create_study(objective.config, objective=objective).optimize(objective, n_trials=4)
    return path


@pytest.fixture
def finished(searched, tmp_path):
    """Return the objective and a copy of the study."""
    path = shutil.copytree(searched.parent, tmp_path / "copy") / searched.name
    objective = Objective(load_config(path))
    return objective, create_study(objective.config, objective=objective)


def missing(objective, created):
    return missing_finalists(created, objective.config)


def test_finalists_are_retrained_tested_and_continued(finished, study):
    objective, created = finished
    records, wanted = records_of(created), missing(*finished)
    assert [(finalist.name, finalist.seed) for finalist in wanted][:2] == [("learned-2", 1), ("learned-2", 1)]
    retrain_finalists(objective, records, wanted[:3])
    assert missing(*finished) == wanted[3:]
    retrain_finalists(objective, records, wanted[3:])
    assert missing(*finished) == []
    done = current_finalists(created, objective.config)
    assert [record.role for record in done].count("relearned") == 2  # the learned one, over both seeds
    assert len(done) == 8 + 2
    assert all(set(finalist.metrics) == {"validation", "test"} for finalist in done)
    fewer = study(**{**SECTIONS, "manual": {"methods": ["equal"]}}, comparison={"seeds": 1, "searched": 0})
    left = {(record.name, record.seed) for record in current_finalists(created, fewer)}
    assert left == {("learned-2", 1), ("equal", 1)}, "others leave the comparison when the file asks for them no longer"
    assert {record.role for record in current_finalists(created, fewer)} == {"finalist", "relearned"}
    assert missing_finalists(created, fewer) == []


def test_a_learned_finalist_is_the_compact_network_of_its_trial(finished):
    objective, created = finished
    records = records_of(created)
    retrain_finalists(objective, records, missing(*finished)[:1])
    trial = next(record for record in records.all("trial") if record.kind == "learned")
    (finalist,) = records.all("finalist")
    assert finalist.allocation == trial.allocation
    assert (finalist.parameters, finalist.macs) == (trial.parameters, trial.macs)


def test_a_learned_finalist_is_learned_again_with_the_settings_of_its_trial(finished):
    objective, created = finished
    wanted = [finalist for finalist in missing(*finished) if finalist.role == "relearned"]
    assert [(finalist.name, finalist.seed) for finalist in wanted] == [("learned-2", 1), ("learned-2", 2)]
    assert {finalist.kind for finalist in wanted} == {"learned"}
    retrain_finalists(objective, records_of(created), wanted)
    trial = created.trials[2]
    section = objective.config.learned
    settings = suggest_learned(optuna.trial.FixedTrial(trial.params), section)
    for finalist in records_of(created).all("relearned"):
        method = StochasticFilterGroups(settings)
        experiment = objective.experiment_on(finalist.seed)
        again = experiment.train(method, finalist.seed, splits=("test",), monte_carlo=True)
        assert finalist.metrics["test"] == again.metrics["test"]
        assert finalist.monte_carlo.metrics["test"] == again.monte_carlo.metrics["test"]
        assert finalist.allocation.to_dict() == again.system.allocation().to_dict()


def test_learning_again_can_be_left_out(finished, study):
    config = study(**SECTIONS, comparison={"as_learned": False})
    assert {finalist.role for finalist in missing_finalists(finished[1], config)} == {"finalist"}


def test_a_record_whose_trial_is_not_complete_is_no_candidate(finished):
    """A process may die between recording a trial and telling Optuna; the retried trial is the one that counts."""
    records = records_of(finished[1])
    orphan = replace(records.all("trial")[2], trial=99, name="learned-99", scores={"validation": 0.0})
    records.add(orphan)
    assert "learned-99" not in {finalist.name for finalist in missing(*finished)}


def test_a_finalist_that_diverges_is_reported_and_the_others_go_on(finished):
    objective, created = finished
    broken = replace(objective.experiment.settings, lr=1e30, lr_schedule="constant")
    objective.experiment = replace(objective.experiment, settings=broken)
    failures = []
    retrain_finalists(
        objective,
        records_of(created),
        missing(*finished)[:2],
        on_failure=lambda finalist, reason: failures.append((finalist.seed, reason)),
    )
    assert [seed for seed, _ in failures] == [1, 1]
    assert "not finite" in failures[0][1]
    assert records_of(created).all("finalist") == []
