"""The attributes that optuna-dashboard sends with every page: few and short, whatever comes of a trial."""

import optuna
import pytest
import torch
from optuna.trial import TrialState

from sfgsearch import Objective, create_study
from sfgsearch.data import InMemory, MultiTaskData, data_sets
from sfgsearch.errors import NonFiniteLossError
from sfgsearch.search import enqueue_missing
from sfgsearch.tasks import DenseRegression, Segmentation
from sfgsearch.training import Experiment

MOST = 20
TASKS = (
    Segmentation("tissue", num_classes=8),
    Segmentation("lesion", classes=("background", "core", "rim"), num_classes=3),
    DenseRegression("dose", unit="Gy"),
)
HEADLINE = {"tissue/dice", "lesion/dice", "dose/mae", "dose/psnr"}
SECTIONS = {
    "data": {"name": "three_dense_tasks", "pairs_per_digit": None},
    "backbone": {"plan": [5, 6]},
    "manual": {"methods": ["equal"], "options": None},
    "quota": {"learned": 1, "searched": 1},
    "execution": {"retries": 1},
    "training": {"epochs": 2},
}


@data_sets.register("three_dense_tasks")
def three_dense_tasks(seed: int):
    """Return noise with a target of every task, which have fourteen metrics together."""
    generator = torch.Generator().manual_seed(seed)

    def split(number):
        images = torch.rand(number, 1, 8, 8, generator=generator)
        targets = {"tissue": (images[:, 0] * 8).long(), "lesion": (images[:, 0] * 3).long(), "dose": images[:, 0]}
        return InMemory(images, targets)

    return MultiTaskData(TASKS, split(16), split(8), split(8))


@pytest.fixture
def run(study):
    """Run a study of three dense tasks with a pruner, and once more what failed; return its trials."""

    def run(pruner=None):
        config = study(**SECTIONS)
        created, objective = create_study(config), Objective(config)
        created.pruner = pruner or optuna.pruners.NopPruner()
        created.optimize(objective, n_trials=3, catch=(Exception,))
        if again := enqueue_missing(created, config):
            created.optimize(objective, n_trials=again, catch=(Exception,))
        for trial in created.trials:
            assert len(trial.user_attrs) <= MOST
            for key, value in trial.user_attrs.items():
                assert isinstance(value, int | float | str)
                assert len(str(value)) < (600 if key == "failure" else 40)
        return created.trials

    return run


def test_those_of_every_kind(run):
    trials = run()
    assert [trial.params["kind"] for trial in trials] == ["manual", "learned", "searched"]
    for trial in trials:
        assert trial.state is TrialState.COMPLETE
        metrics = {key.removeprefix("validation/") for key in trial.user_attrs if key.startswith("validation/")}
        assert metrics >= HEADLINE
        assert {key.split("/")[0] for key in metrics} == {"tissue", "lesion", "dose"}


class PruneAll(optuna.pruners.BasePruner):
    def prune(self, *_):
        return True


def test_those_of_pruned_trials(run):
    manual, *pruned = run(PruneAll())
    assert manual.state is TrialState.COMPLETE
    assert {trial.state for trial in pruned} == {TrialState.PRUNED}


@pytest.mark.parametrize("error", [RuntimeError, NonFiniteLossError])
def test_those_of_failed_trials_and_of_what_is_tried_again(run, monkeypatch, error):
    """A manual candidate whose loss was not finite is not tried again, for nothing about it could change."""
    train, reasons = Experiment.train, ["a long reason " * 100] * 3

    def fail_at_first(*arguments, **options):
        if reasons:
            raise error(reasons.pop())
        return train(*arguments, **options)

    monkeypatch.setattr(Experiment, "train", fail_at_first)
    trials = run()
    assert [trial.state for trial in trials[:3]] == [TrialState.FAIL] * 3
    assert [trial.state for trial in trials[3:]] == [TrialState.COMPLETE] * (3 if error is RuntimeError else 2)
    assert all("retry_of" in trial.user_attrs for trial in trials[3:])
    assert max(len(trial.user_attrs) for trial in trials) == (MOST if error is RuntimeError else MOST - 1)
