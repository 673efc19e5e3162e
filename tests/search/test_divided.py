"""Retraining with a partition of the data per seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sfgsearch import Objective, create_study
from sfgsearch.config import load_data
from sfgsearch.data import InMemory, data_sets
from sfgsearch.errors import ConfigError
from sfgsearch.search import current_finalists, missing_finalists, records_of, retrain_finalists
from sfgsearch.tasks._classes import balanced_weights

SMALL = {
    "quota": {"learned": 0, "searched": 0},
    "manual": {"methods": ["equal", "hard_sharing"], "options": None},
    "training": {"epochs": 1},
    "comparison": {"seeds": 2, "learned": 0, "searched": 0},
}
LOADED = []


@data_sets.register("counted_pairs")
def counted_pairs(seed, *, unlabelled=-1):
    """Return pairs of digits; with one seed no image of the test split has labels of the second task."""
    LOADED.append(seed)
    data = data_sets["digit_pairs"](seed, pairs_per_digit=1)
    if seed != unlabelled:
        return data
    test = data.test
    targets = {**test.targets, "second": torch.full_like(test.targets["second"], -1)}
    return replace(data, test=InMemory(test.images, targets))


def trained(config):
    objective = Objective(config)
    created = create_study(config, objective=objective)
    created.optimize(objective, n_trials=2)
    return objective, created


def retrain(objective, created):
    retrain_finalists(objective, records_of(created), missing_finalists(created, objective.config))
    return current_finalists(created, objective.config)


def test_finalists_of_a_seed_share_its_partition_and_those_of_others_have_others(study):
    objective, created = trained(study(**SMALL, tasks={"first": {"class_weights": "balanced"}}))
    finalists = retrain(objective, created)
    by_seed = {seed: {one.data_digest for one in finalists if one.seed == seed} for seed in (1, 2)}
    own = objective.experiment.data.identity.digest
    assert [len(digests) for digests in by_seed.values()] == [1, 1]
    assert len({own}.union(*by_seed.values())) == 3
    for one in finalists:
        data = load_data(objective.config, one.seed)
        assert one.data_digest == data.identity.digest
        assert one.data_seed == one.seed
        again = replace(objective.experiment, data=data, _errors={})
        method = objective.manual[one.name]
        assert again.train(method, one.seed, splits=("validation", "test")).scores == one.scores
        weights = balanced_weights(data.train.target("first"), 10)
        assert one.tasks[0]["class_weights"] == pytest.approx(list(weights))
    assert {record.data_digest for record in records_of(created).all("trial")} == {own}


def test_a_partition_is_loaded_once_and_the_one_before_is_let_go(study):
    objective, created = trained(study(**SMALL, data={"name": "counted_pairs", "pairs_per_digit": None}))
    LOADED.clear()
    retrain(objective, created)
    assert LOADED == [1, 2]
    assert objective.experiment_on(0).data is objective.experiment.data
    first = objective.experiment_on(1).data
    objective.experiment_on(2)
    assert objective.experiment_on(1).data is not first


def test_the_studys_own_partition_can_be_kept(study):
    config = study(**{**SMALL, "comparison": {**SMALL["comparison"], "splits": "study"}})
    objective, created = trained(config)
    finalists = retrain(objective, created)
    assert {one.data_digest for one in finalists} == {objective.experiment.data.identity.digest}
    assert {one.data_seed for one in finalists} == {0}
    changed = study(**SMALL)
    assert current_finalists(created, changed) == []
    assert len(missing_finalists(created, changed)) == len(finalists) == 4
    retrain(Objective(changed), created)
    assert missing_finalists(created, changed) == []
    assert len(missing_finalists(created, config)) == 4, "a seed has one record, that of its last retraining"


def test_splits_that_are_given_are_those_of_all_seeds_and_a_note_says_so(study, tmp_path):
    random = np.random.default_rng(0)
    arrays = {"images": random.random((40, 8, 8)), "kind": np.arange(40) % 2, "size": random.random(40)}
    np.savez(tmp_path / "given.npz", **arrays, split=np.repeat(["train", "validation", "test", "test"], 10))
    tasks = {"kind": {"type": "classification"}, "size": {"type": "regression"}}
    data = {"name": "npz", "pairs_per_digit": None, "path": "given.npz", "split": "split", "tasks": tasks}
    objective, created = trained(study(**SMALL, data=data))
    assert sum("which all seeds share" in note for note in objective.notes) == 1
    finalists = retrain(objective, created)
    assert len(finalists) == 4
    assert {one.data_digest for one in finalists} == {objective.experiment.data.identity.digest}
    kept = study(**{**SMALL, "comparison": {**SMALL["comparison"], "splits": "study"}}, data=data)
    assert Objective(kept).notes == objective.experiment.notes
    assert missing_finalists(created, kept) == []


def test_a_seed_whose_partition_lacks_labels_is_named(study):
    data = {"name": "counted_pairs", "pairs_per_digit": None, "unlabelled": 2}
    objective, created = trained(study(**SMALL, data=data))
    failures = {}
    retrain_finalists(
        objective,
        records_of(created),
        missing_finalists(created, objective.config),
        on_failure=lambda finalist, reason: failures.setdefault(finalist.seed, reason),
    )
    assert set(failures) == {2}
    assert "data: with seed 2: task 'second' has no label in the test split" in failures[2]
    with pytest.raises(ConfigError, match=r'comparison\.splits = "study"'):
        objective.experiment_on(2)
