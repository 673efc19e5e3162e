"""The objective under plain Optuna, and what a trial leaves behind."""

import json
import math

import optuna
import pytest
import torch
from epoch_hook import EpochHook
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta
from optuna.trial import FixedTrial, TrialState
from safetensors.torch import load_file
from study_fixtures import DIVERGING, write_study

from sfgsearch import Objective, create_study, load_config
from sfgsearch.allocation import Allocation
from sfgsearch.errors import ConfigError, StudyError
from sfgsearch.search import enqueue_missing, records_of
from sfgsearch.search._attributes import allocation_of, repairs_of


def test_a_plain_study_with_its_own_sampler_pruner_and_callback(study):
    seen = []
    plain = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1), pruner=optuna.pruners.MedianPruner())
    plain.optimize(Objective(study()), n_trials=3, callbacks=[lambda _study, trial: seen.append(trial.state)])
    assert seen == [TrialState.COMPLETE] * 3
    assert all(0 < trial.value < 1.2 for trial in plain.trials)
    assert all(trial.params["kind"] in ("learned", "searched", "manual") for trial in plain.trials)


def test_a_plain_study_takes_manual_candidates_in_turn(study):
    plain = optuna.create_study()
    for _ in range(2):
        plain.enqueue_trial({"kind": "manual"})
    plain.optimize(Objective(study(training={"epochs": 1})), n_trials=2)
    assert [trial.user_attrs["name"] for trial in plain.trials] == ["single_task", "hard_sharing"]


@pytest.fixture
def run(study):
    """Run a study with changed sections to the end of its queue."""

    def run(n_trials=None, **sections):
        config = study(**sections)
        created = create_study(config)
        created.optimize(Objective(config), n_trials=n_trials or len(created.trials))
        return created

    return run


@pytest.fixture(scope="module")
def tiny_study(tmp_path_factory):
    """Run the tiny study to the end of its queue, once for all that only read it; return its configuration, too."""
    config = load_config(write_study(tmp_path_factory.mktemp("trained")))
    created = create_study(config)
    created.optimize(Objective(config), n_trials=len(created.trials))
    return config, created


def test_every_kind_is_trained_and_recorded(tiny_study):
    _, created = tiny_study
    assert {trial.state for trial in created.trials} == {TrialState.COMPLETE}
    records = records_of(created).all("trial")
    assert [record.trial for record in records] == list(range(8))
    assert [record.kind for record in records] == ["manual"] * 4 + ["learned", "searched"] * 2
    assert [record.name for record in records][3:6] == ["constant_probabilities", "learned-4", "searched-5"]
    for record in records:
        assert set(record.metrics) == {"validation"}, "test data is for finalists"
        assert {"first/accuracy", "first/balanced_accuracy", "second/f1"} <= set(record.metrics["validation"])
        assert min(record.parameters, record.macs, record.epochs) > 0
        assert record.backbone == {
            "name": "vgg_small",
            "norm": "batch",
            "width": 1.0,
            "plan": [4, "pool", 6],
        }
        assert record.scores["validation"] == created.trials[record.trial].value


def test_learned_records_carry_probabilities_and_others_none(tiny_study):
    _, created = tiny_study
    for record in records_of(created).all("trial"):
        has_probabilities = record.kind == "learned" or record.name == "constant_probabilities"
        assert all((layer.mean_probs is not None) == has_probabilities for layer in record.allocation.layers)
        assert (record.probabilities_artifact is not None) == has_probabilities


def test_artifacts_hold_every_filter_and_every_epoch(tiny_study, tmp_path):
    config, created = tiny_study
    record = next(record for record in records_of(created).all("trial") if record.kind == "learned")
    store = FileSystemArtifactStore(config.folder / "artifacts")
    files = get_all_artifact_meta(created.trials[record.trial], storage=created._storage)
    ids = {meta.filename: meta.artifact_id for meta in files}
    assert ids["probabilities.safetensors"] == record.probabilities_artifact
    for name, artifact in ids.items():
        download_artifact(artifact_store=store, artifact_id=artifact, file_path=str(tmp_path / name))
    probabilities = load_file(tmp_path / "probabilities.safetensors")
    assert {name: tuple(probs.shape) for name, probs in probabilities.items()} == {"conv1": (4, 3), "conv2": (6, 3)}
    for layer in record.allocation.layers:
        assert probabilities[layer.name].mean(0).tolist() == pytest.approx(layer.mean_probs)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [0, 1]


def test_trial_attributes_are_few_and_short(tiny_study):
    _, created = tiny_study
    attributes = created.trials[0].user_attrs
    assert len(attributes) <= 20
    assert all(len(str(value)) < 40 for value in attributes.values()), "a long one would widen the dashboard's pages"


def test_a_trial_keeps_its_allocation_out_of_sight_of_the_dashboard(tiny_study):
    _, created = tiny_study
    assert created.trials[0].system_attrs["sfgsearch:allocation"]["version"] == 1
    assert allocation_of(created.trials[0]) == records_of(created).all("trial")[0].allocation
    assert repairs_of(created.trials[0]) is None
    assert allocation_of(optuna.trial.create_trial(value=1.0)) is None


def test_the_same_seed_gives_the_same_numbers(tiny_study, run):
    (_, first), second = tiny_study, run()
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    assert [trial.value for trial in first.trials] == [trial.value for trial in second.trials]
    for one, other in zip(records_of(first).all(), records_of(second).all(), strict=True):
        assert one.metrics == other.metrics
        assert one.allocation.to_json() == other.allocation.to_json()


def test_another_seed_gives_other_numbers(tiny_study, study, tmp_path):
    created = create_study(study().with_overrides(seed=5), storage=f"sqlite:///{tmp_path / 'other'}.db")
    created.optimize(Objective(study().with_overrides(seed=5)), n_trials=1)
    assert created.trials[0].value != tiny_study[1].trials[0].value


def test_a_loss_that_is_not_finite_fails_the_trial_with_its_reason(run):
    created = run(n_trials=2, **DIVERGING, manual={"methods": ["hard_sharing"]})
    assert [trial.state for trial in created.trials[:2]] == [TrialState.FAIL] * 2
    assert "not finite in epoch" in created.trials[0].user_attrs["failure"]
    assert records_of(created).all() == []


def test_one_objective_per_task(run):
    created = run(n_trials=2, study={"objective": "per_task"})
    assert len(created.directions) == 2
    for trial in created.trials[:2]:
        for task, error in zip(("first", "second"), trial.values, strict=True):
            accuracy = trial.user_attrs[f"validation/{task}/accuracy"]
            assert error == pytest.approx((1 - accuracy) / 0.9, rel=0.05), "nine in ten are wrong by chance"


def test_a_trial_that_runs_out_of_memory_says_with_which_batch_size(study, monkeypatch):
    config = study(manual={"methods": ["equal"]}, quota={"learned": 1, "searched": 0})
    created, objective = create_study(config), Objective(config)

    def run_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(objective.experiment), "train", run_out)
    created.optimize(objective, n_trials=2, catch=(Exception,))
    assert [trial.state for trial in created.trials] == [TrialState.FAIL] * 2
    reason = "out of memory on cpu with batch size 540; lower training.batch_size (CUDA out of memory)"
    assert created.trials[0].user_attrs["failure"] == reason
    assert enqueue_missing(created, config) == 2


def test_manual_candidates_may_come_and_go(study):
    config = study(manual={"methods": []}, quota={"learned": 0, "searched": 1}, training={"epochs": 1})
    create_study(config).optimize(Objective(config), n_trials=1)
    more = study(manual={"methods": ["equal"]}, quota={"learned": 0, "searched": 1}, training={"epochs": 1})
    created = create_study(more)
    created.optimize(Objective(more), n_trials=1)
    assert [trial.state.name for trial in created.trials] == ["COMPLETE", "COMPLETE"]


def test_extreme_proportions_train(study):
    """Quantiles at the ends of their range leave tasks and shared groups without filters, which is repaired."""
    config = study(manual={"methods": []}, quota={"learned": 0, "searched": 4}, training={"epochs": 1})
    names = [f"searched.{layer}.{group}" for layer in ("conv1", "conv2") for group in ("shared", "first")]
    corners = [(0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.5, 0.9, 0.9)]
    plain = optuna.create_study()
    for corner in corners:
        plain.enqueue_trial({"kind": "searched", **dict(zip(names, corner, strict=True))})
    plain.optimize(Objective(config), n_trials=4)
    assert [trial.state.name for trial in plain.trials] == ["COMPLETE"] * 4
    assert "shared filters would read nothing" in repairs_of(plain.trials[1])


class PruneAll(optuna.pruners.BasePruner):
    def prune(self, *_):
        return True


def test_pruning_spares_manual_trials_and_leaves_no_record(study):
    config = study(manual={"methods": ["equal"]}, quota={"learned": 1, "searched": 1})
    created = create_study(config)
    created.pruner = PruneAll()
    created.optimize(Objective(config), n_trials=3)
    assert [trial.state.name for trial in created.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert created.trials[1].user_attrs["pruned_after_epochs"] == 1
    assert [record.name for record in records_of(created).all()] == ["equal"]


def test_a_fixed_trial_needs_no_study(study):
    value = Objective(study())(FixedTrial({"kind": "learned", "learned.lr": 0.05, "learned.kl_weight": 1.0}))
    assert isinstance(value, float)
    assert math.isfinite(value)


def test_nothing_to_do_is_an_error(study):
    with pytest.raises(ConfigError, match="quota: asks for no trial"):
        Objective(study(manual={"methods": []}, quota={"learned": 0, "searched": 0}))


@pytest.mark.parametrize(
    ("objective", "directions", "message"),
    [
        ("mean", ["maximize"], r'maximises.*directions=\["minimize"\]:'),
        ("mean", ["minimize"] * 2, r"has 2 objectives.*study.objective is 'mean'"),
        ("per_task", ["minimize", "maximize"], r'maximises.*directions=\["minimize"\] \* 2'),
        ("per_task", ["minimize"], "has 1 objective;.*'per_task'"),
    ],
)
def test_a_study_of_other_directions_is_refused_before_anything_is_trained(study, objective, directions, message):
    trained = []
    config = study(study={"objective": objective})
    plain = optuna.create_study(directions=directions)
    with pytest.raises(StudyError, match=message):
        plain.optimize(Objective(config, [EpochHook(lambda *_: trained.append(_))]), n_trials=1)
    assert trained == []
    assert "kind" not in plain.trials[0].params


@pytest.mark.parametrize("space", ["layers", "curve"])
def test_the_first_searched_trials_are_warm_starts(study, space):
    config = study(
        manual={"methods": []},
        quota={"learned": 0, "searched": 4},
        searched={"space": space},
        training={"epochs": 1},
    )
    objective = Objective(config)
    created = create_study(config, objective=objective)
    created.optimize(objective, n_trials=4)
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE] * 4
    filters, tasks = objective.space.filters, objective.space.tasks
    found = [allocation_of(trial) for trial in created.trials]
    linear = {"conv1": [0.1, 0.1, 0.8], "conv2": [0.4, 0.4, 0.2]}
    assert found[0] == Allocation.hard_sharing(filters, tasks)
    assert found[1] == Allocation.equal(filters, tasks)
    assert found[2] == Allocation.from_proportions(filters, tasks, linear)
    assert found[3] not in found[:3]
    assert created.trials[3].params.keys() == created.trials[0].params.keys()
