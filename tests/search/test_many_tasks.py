"""Studies with more tasks than the first layers have filters."""

import numpy as np
import pytest
from optuna.trial import TrialState
from sklearn.datasets import load_digits

from sfgsearch import Objective, create_study
from sfgsearch.search import missing_finalists, records_of, retrain_finalists

pytestmark = pytest.mark.slow

TASKS = 12


@pytest.fixture
def many(study, tmp_path):
    """Read a study of twelve questions about digits: is it a 0, is it a 1, ..., is it odd, is it above 4?"""
    digits = load_digits(n_class=10)
    images, labels = digits.images[:300] / 16, digits.target[:300]
    answers = {f"is_{digit}": labels == digit for digit in range(10)} | {"odd": labels % 2 == 1, "large": labels > 4}
    split = np.repeat(["train", "validation", "test"], 100)
    np.savez(tmp_path / "many.npz", images=images, split=split, **{k: v.astype(np.int64) for k, v in answers.items()})
    tasks = {name: {"type": "classification", "num_classes": 2} for name in answers}
    data = {"name": "npz", "pairs_per_digit": None, "path": "many.npz", "split": "split", "tasks": tasks}
    manual = {"methods": ["single_task", "hard_sharing", "equal"], "options": None}
    quota = {"learned": 1, "searched": 1}
    comparison = {"seeds": 1, "manual": 1}
    return study(data=data, manual=manual, quota=quota, comparison=comparison, training={"epochs": 1}, review=None)


def test_every_kind_is_trained_though_no_layer_has_a_filter_for_every_task(many):
    objective = Objective(many)
    assert max(objective.experiment.spec.filters.values()) < TASKS
    created = create_study(many, objective=objective)
    created.optimize(objective, n_trials=len(created.trials))
    assert {trial.state for trial in created.trials} == {TrialState.COMPLETE}
    records = records_of(created)
    retrain_finalists(objective, records, missing_finalists(created, many), study=created)
    assert {record.kind for record in records.all("finalist")} == {"manual", "learned", "searched"}
    for record in records.all("trial"):
        assert record.name == "single_task" or all(layer.counts[-1] >= 1 for layer in record.allocation.layers)
