"""A third of every task's labels is missing: what is left is trained on and measured, against a plain reference."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch.nn import functional

from sfgsearch import Objective, create_study
from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.data import Augmentation, InMemory, MultiTaskData, data_sets
from sfgsearch.export import load_network
from sfgsearch.methods import FixedAllocation, Randomness, SFGSettings, StochasticFilterGroups, manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.search import artifact_folder, missing_finalists, records_of, retrain_finalists
from sfgsearch.tasks import (
    MISSING,
    Classification,
    DenseRegression,
    Regression,
    Segmentation,
    is_present,
    select_present,
)
from sfgsearch.training import Experiment, RelativeError, Trainer, TrainingSettings, evaluate

CPU = torch.device("cpu")
SIDE, SIZES = 8, (48, 33, 39)
TASKS = (
    Classification("kind"),
    Regression("size", scale=10.0, unit="mm"),
    Segmentation("mask", num_classes=3, classes=("outside", "rim", "core")),
    DenseRegression("dose", scale=50.0, unit="Gy", span=100.0),
)
NAMES = [task.name for task in TASKS]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def draw(number, seed):
    """Return images of discs and all of their targets."""
    generator = seeded(seed)
    radius = 1.5 + 2.5 * torch.rand(number, generator=generator)
    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    distance = torch.hypot(axis[:, None], axis[None])
    mask = (distance < radius[:, None, None]).long() + (distance < radius[:, None, None] / 2)
    images = mask[:, None].float() + 0.3 * torch.randn(number, 1, SIDE, SIDE, generator=generator)
    dose = mask.float() / 2 + 0.1 * torch.rand(number, SIDE, SIDE, generator=generator)
    return images, {"kind": (radius > 2.7).long(), "size": radius / 4, "mask": mask, "dose": dose}


def hide(targets, seed):
    """Leave out a third of every task's labels: of dense ones that of whole images, of parts and of single pixels."""
    hidden = {}
    for index, (name, target) in enumerate(targets.items()):
        generator = seeded(100 * seed + index)
        gone = torch.zeros(len(target), dtype=torch.bool)
        share = 1 / 3 if target.ndim == 1 else 1 / 6
        gone[torch.randperm(len(target), generator=generator)[: round(share * len(target))]] = True
        if target.ndim > 1:
            gone = gone[:, None, None] | (torch.rand(target.shape, generator=generator) < 0.12)
            gone[::3, :, :2] = True
        hidden[name] = target.masked_fill(gone, torch.nan if target.is_floating_point() else MISSING)
    return hidden


@data_sets.register("partly_labelled")
def partly_labelled(seed: int, *, holes: bool = True) -> MultiTaskData:
    """Return discs, whose labels are missing in part or all there."""
    splits = []
    for index, number in enumerate(SIZES):
        images, targets = draw(number, 10 * seed + index)
        splits.append(InMemory(images, hide(targets, index) if holes else targets))
    return MultiTaskData(TASKS, *splits)


def searched(spec):
    proportions = {name: [0.15, 0.15, 0.1, 0.2, 0.4] for name in spec.filters}
    return FixedAllocation(Allocation.from_proportions(spec.filters, spec.task_names, proportions), repair=True)


SHIPPED = {name: make for name, make in manual_methods.items() if make.__module__.startswith("sfgsearch.")}
MANUAL = {name: make for name, make in SHIPPED.items() if name != "adashare"}  # needs residual blocks
OPTIONS = {"constant_probabilities": {"samples": 2}}
METHODS = {
    **{name: functools.partial(make, **OPTIONS.get(name, {})) for name, make in MANUAL.items()},
    "searched": searched,
    "learned": lambda _spec: StochasticFilterGroups(SFGSettings(lr=0.2)),
}


@functools.cache
def spec_of(tasks):
    """Return the same specification for the same tasks, so that it is analysed once."""
    return NetworkSpec(functools.partial(vgg_small, plan=(10, 12)), tasks, (1, SIDE, SIDE))


def make_experiment(data=None, augmentation=None, **settings):
    data = data or partly_labelled(0)
    spec = spec_of(data.tasks)
    given = {"epochs": 1, "batch_size": 7, "lr": 0.02, "device": "cpu", "monte_carlo_samples": 3} | settings
    return Experiment(data, spec, TrainingSettings(**given), augmentation or Augmentation())


def of_kind(logits, target):
    probabilities, answer = logits.softmax(1)[:, 1].numpy(), logits.argmax(1).numpy()
    return {
        "accuracy": reference.accuracy_score(target, answer),
        "balanced_accuracy": reference.balanced_accuracy_score(target, answer),
        "f1": reference.f1_score(target, answer, average="macro"),
        "auroc": reference.roc_auc_score(target, probabilities),
    }


def of_mask(answer, target):
    dice, occurs = {}, []
    for label, name in ((1, "rim"), (2, "core")):
        hits, total = ((answer == label) & (target == label)).sum(), (answer == label).sum() + (target == label).sum()
        dice[f"dice_{name}"] = 2 * hits / total if total else 1.0
        occurs.append(total > 0)
    mean = np.mean([value for value, occurred in zip(dice.values(), occurs, strict=True) if occurred])
    return {"dice": mean, **dice, "accuracy": np.mean(answer == target)}


def measure(predictions, targets):
    """Return all metrics of what is present, by numpy and scikit-learn."""
    present = {name: is_present(target).numpy() for name, target in targets.items()}
    given = {name: target.numpy()[present[name]] for name, target in targets.items()}
    size = predictions["size"].numpy()[present["size"]].astype(np.float64)
    dose = predictions["dose"].numpy()[present["dose"]].astype(np.float64)
    answer = predictions["mask"].argmax(1).numpy()[present["mask"]]
    error = (dose - given["dose"]) * 50.0
    found = {
        "kind": of_kind(predictions["kind"][torch.from_numpy(present["kind"])].double(), given["kind"]),
        "size": {"mae": np.abs(size - given["size"]).mean() * 10.0},
        "mask": of_mask(answer, given["mask"]),
        "dose": {"mae": np.abs(error).mean(), "psnr": 10 * np.log10(100.0**2 / np.mean(error**2))},
    }
    return {f"{task}/{metric}": float(value) for task, values in found.items() for metric, value in values.items()}


def trivial(train, test):
    """Return the errors of the best constant predictions that the present training targets allow."""
    train, test = (
        {name: part.target(name)[is_present(part.target(name))].numpy() for name in NAMES} for part in (train, test)
    )
    middle = {name: np.sort(train[name])[(len(train[name]) - 1) // 2] for name in ("size", "dose")}
    majority = np.bincount(train["kind"]).argmax()
    organ = 1 + np.bincount(train["mask"])[1:].argmax()
    dice = of_mask(np.full_like(test["mask"], organ), test["mask"])["dice"]
    return {
        "kind": np.mean(test["kind"] != majority),
        "size": np.abs(test["size"] - middle["size"]).mean() * 10.0,
        "mask": 1 - dice,
        "dose": np.abs(test["dose"].astype(np.float64) - middle["dose"]).mean() * 50.0,
    }


def relative(values, train, test):
    errors = {
        "kind": 1 - values["kind/accuracy"],
        "size": values["size/mae"],
        "mask": 1 - values["mask/dice"],
        "dose": values["dose/mae"],
    }
    constant = trivial(train, test)
    return {name: error / constant[name] for name, error in errors.items()}


@torch.no_grad()
def predict(network, split):
    """Predict in the batches of evaluation, so that sums are rounded alike."""
    images, _ = split.__getitems__(list(range(len(split))))
    parts = [network(part) for part in images.split(7)]
    return {name: torch.cat([part[name] for part in parts]) for name in NAMES}


def test_a_third_of_the_labels_is_missing():
    for labels in partly_labelled(0).labels.values():
        for name, count in labels.items():
            assert 0.28 < count.missing / count.total < 0.37, name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_measured_on_what_is_present(method):
    experiment = make_experiment()
    trained = experiment.train(METHODS[method](experiment.spec), 0, splits=("train", "validation", "test"))
    data = experiment.data
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        expected = measure(predict(trained.predictor, split), split.targets)
        assert trained.metrics[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        score = np.mean(list(relative(expected, data.train, split).values()))
        assert trained.scores[name] == pytest.approx(score, rel=1e-4)
    for report in trained.history:
        assert all(math.isfinite(value) for value in (report.loss, report.score, *report.task_losses.values()))
    if trained.monte_carlo:
        uncertain = {f"{name}/uncertainty" for name in NAMES}
        assert all(math.isfinite(value) for value in trained.monte_carlo.metrics["test"].values())
        assert trained.monte_carlo.metrics["test"].keys() == trained.metrics["test"].keys() | uncertain


@pytest.mark.parametrize(("method", "padding"), [("hard_sharing", "zero"), ("learned", "reflect")])
def test_augmentation_and_learned_weights_take_holes(method, padding):
    changes = Augmentation(flips=("horizontal",), crop=2, rotation=30.0, padding=padding)
    for holes in (True, False):
        experiment = make_experiment(partly_labelled(0, holes=holes), changes, task_weighting="uncertainty")
        trained = experiment.train(METHODS[method](experiment.spec), 0)
        split = experiment.data.validation
        assert all(math.isfinite(value) for value in trained.history[-1].task_losses.values())
        expected = measure(predict(trained.predictor, split), split.targets)
        assert trained.metrics["validation"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_absent_labels_are_exactly_zero(loss, dtype):
    """Those of present ones are what one gets from these alone, and they are not zero."""
    _, targets = draw(12, 5)
    targets, generator = hide(targets, 3), seeded(1)
    shapes = {"kind": (12, 2), "size": (12,), "mask": (12, 3, SIDE, SIDE), "dose": (12, SIDE, SIDE)}
    for task in (TASKS[0], TASKS[1], replace(TASKS[1], loss="l1"), replace(TASKS[2], loss=loss), TASKS[3]):
        prediction = torch.randn(shapes[task.name], generator=generator, dtype=dtype, requires_grad=True)
        target = targets[task.name].to(dtype) if targets[task.name].is_floating_point() else targets[task.name]
        present = is_present(target)
        value = task.negative_log_likelihood(*select_present(prediction, target))
        value.backward()
        gradient = prediction.grad.movedim(1, -1) if prediction.ndim > target.ndim else prediction.grad
        assert value.isfinite()
        assert torch.all(gradient[~present] == 0)
        assert (gradient[present] != 0).double().mean() > 0.99
        if task.name == "kind":
            expected = functional.cross_entropy(prediction[present], target[present])
        elif task.name == "mask":
            continue
        else:
            difference = (prediction - target)[present]
            expected = difference.abs().mean() if task.loss == "l1" else 0.5 * difference.square().mean()
        torch.testing.assert_close(value, expected)


def make_trainer(data, **settings):
    experiment = make_experiment(data, epochs=2, length_scale=0.0, **settings)
    spec = experiment.spec
    randomness = Randomness.from_seed(0, CPU)
    system = FixedAllocation(Allocation.hard_sharing(spec.filters, spec.task_names)).build(spec, randomness, CPU)
    return system, Trainer(system, data, experiment.settings, randomness, CPU)


@pytest.mark.parametrize(
    ("absent", "weighting"),
    [("kind", "uncertainty"), ("size", "fixed"), ("mask", "uncertainty"), ("dose", "fixed"), ("dose", "uncertainty")],
)
def test_a_task_without_any_label_adds_nothing(absent, weighting):
    """Its head stays as it was, and all others go the way that they go where it has no weight."""
    images, targets = draw(28, 3)
    targets = hide(targets, 1)
    empty = torch.full_like(targets[absent], torch.nan if targets[absent].is_floating_point() else MISSING)
    weightless = tuple(replace(task, weight=0.0 if task.name == absent else 1.0) for task in TASKS)
    weighted = [(TASKS, empty), (weightless, targets[absent])]
    states, losses = [], []
    for tasks, target in weighted:
        split = InMemory(images, {**targets, absent: target})
        system, trainer = make_trainer(MultiTaskData(tasks, split, split, split), task_weighting=weighting)
        before = {name: value.clone() for name, value in system.network.state_dict().items()}
        losses.append([trainer.train_epoch() for _ in range(2)][-1])
        states.append(system.network.state_dict())
    assert losses[0].tasks[absent] == 0
    assert losses[0].weights[absent] == 1
    changed = {name for name, value in states[0].items() if not torch.equal(value, before[name])}
    assert changed
    head = f"ordered_heads.{NAMES.index(absent)}."
    assert any(head in name for name in before)
    assert not any(head in name for name in changed if "running" not in name and "num_b" not in name)
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)


def test_batches_without_a_task_do_not_count_in_its_mean_loss():
    """One image in 28 has a size: of its four batches one is measured."""
    images, targets = draw(28, 3)
    size = torch.full((28,), torch.nan)
    size[11] = 100.0
    split = InMemory(images, {**targets, "size": size})
    _, trainer = make_trainer(MultiTaskData(TASKS, split, split, split), lr=1e-9)
    losses = trainer.train_epoch()
    assert losses.tasks["size"] == pytest.approx(0.5 * 100**2, rel=0.05)
    assert math.isfinite(losses.objective)


def test_trivial_and_relative_errors_are_of_what_is_present():
    data = partly_labelled(1)
    values = dict.fromkeys(("kind/accuracy", "size/mae", "mask/dice", "dose/mae"), 0.3)
    for name in ("train", "validation", "test"):
        found = RelativeError(data, name)
        expected = relative(values, data.train, getattr(data, name))
        assert found.per_task(values) == pytest.approx(expected, rel=1e-5)
        assert found.mean(values) == pytest.approx(np.mean(list(expected.values())), rel=1e-5)


class WithFixedUncertainty(torch.nn.Module):
    """Says how uncertain it is of what it reads off the images."""

    def forward(self, images):
        level = images[:, 0]
        each = level.mean((1, 2))
        values = {
            "kind": torch.stack([-each, each], 1),
            "size": each,
            "mask": torch.stack([1 - level, level, level - 1], 1),
            "dose": level,
        }
        return values | {f"{name}/uncertainty": each.exp() if name in NAMES[:2] else level.exp() for name in NAMES}


def test_uncertainty_is_averaged_over_what_is_present():
    split = partly_labelled(0).test
    batches = [split.__getitems__(list(range(start, min(start + 7, len(split))))) for start in range(0, len(split), 7)]
    network = WithFixedUncertainty()
    found = evaluate(network, TASKS, batches, CPU)
    said = network(split.images)
    for name in NAMES:
        expected = said[f"{name}/uncertainty"][is_present(split.targets[name])].double().mean()
        assert found[f"{name}/uncertainty"] == pytest.approx(float(expected), rel=1e-5)
    complete = measure({name: said[name] for name in NAMES}, split.targets)
    assert {name: value for name, value in found.items() if "uncertainty" not in name} == pytest.approx(
        complete, rel=1e-4, abs=1e-5
    )


@pytest.fixture
def finished(study):
    """Run a study of all kinds to its end, finalists included."""
    config = study(
        data={"name": "partly_labelled", "pairs_per_digit": None},
        backbone={"plan": [10, 12]},
        training={"epochs": 1, "batch_size": 7, "monte_carlo_samples": 2},
        manual={"methods": ["equal", "cross_stitch"]},
        quota={"learned": 1, "searched": 1},
        comparison={"seeds": 1, "manual": 1, "splits": "study"},
    )
    objective = Objective(config)
    created = create_study(config, objective=objective)
    created.optimize(objective, n_trials=4)
    retrain_finalists(objective, records_of(created), missing_finalists(created, config), study=created)
    return config, objective, created


def test_a_study_with_holes_says_what_one_can_check(finished):
    """Every record's metrics are those of its network on the labels that its study has."""
    config, objective, created = finished
    records, data = records_of(created).all(), objective.experiment.data
    assert [record.role for record in records].count("trial") == 4
    assert {record.kind for record in records if record.role == "finalist"} == {"learned", "searched", "manual"}
    assert missing_finalists(created, config) == []
    for record in records:
        network = load_network(record, artifact_folder(config) / record.weights_artifact)
        for name, metrics in record.metrics.items():
            split = getattr(data, name)
            expected = measure(predict(network, split), split.targets)
            assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-5), (record.name, record.role, name)
            score = np.mean(list(relative(expected, data.train, split).values()))
            assert record.scores[name] == pytest.approx(score, rel=1e-4)
