"""A training that was interrupted and goes on elsewhere ends with the numbers of one that was not."""

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import highresnet, vgg_small
from sfgsearch.config import build_experiment, load_config
from sfgsearch.data import Augmentation, InMemory, MultiTaskData
from sfgsearch.data._patches import RandomPatches, WholeImages
from sfgsearch.methods import FixedAllocation, PriorSettings, SFGSettings, StochasticFilterGroups, manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import MISSING, Classification, DenseRegression, Regression, Segmentation
from sfgsearch.training import CheckpointFolder, Experiment, FolderSession, TrainingSettings

TASKS = (Classification("bright", num_classes=2, weight=0.5), Regression("mean", scale=2.0))
SPLITS = ("train", "validation", "test")
STEPS_PER_EPOCH, EPOCHS = 4, 4  # 65 images make four batches of 16 and one of a single image, which is dropped


class InterruptionError(Exception):
    """Raised where a training is to stop."""


class Interrupting(FolderSession):
    """Saves and ends the training after given steps, and may save at other steps as well.

    Args:
        folder: Of the checkpoints.
        stops: After how many steps to save and raise.
        lost: After how many steps to raise without saving.
    """

    def __init__(self, folder, stops=(), lost=(), every=1e9):
        super().__init__(folder, every)
        self.stops, self.lost, self.step = set(stops), set(lost), 0

    def restore(self):
        checkpoint = super().restore()
        self.step = checkpoint.state["step"] if checkpoint else 0
        return checkpoint

    def after_step(self, capture):
        super().after_step(capture)
        self._count(capture)

    def after_epoch(self, epoch, capture):
        super().after_epoch(epoch, capture)
        self._count(capture)

    def _count(self, capture):
        self.step += 1
        if self.step in self.stops:
            self.save(capture)
        if self.step in self.stops | self.lost:
            raise InterruptionError(self.step)


def make_split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(number, 1, 6, 6, generator=generator) + torch.randn(number, 1, 1, 1, generator=generator)
    mean = images.mean((1, 2, 3))
    return InMemory(images, {"bright": (mean > 0.5).long(), "mean": mean - 0.5})


@functools.cache
def spec_of(backbone, tasks, image_shape):
    """Return the same specification for the same arguments, so that it is analysed once."""
    return NetworkSpec(backbone, tasks, image_shape)


PLAIN = functools.partial(vgg_small, plan=(6, "pool", 6))
RESIDUAL = functools.partial(highresnet, width=0.125, blocks=1)
WIDER = functools.partial(highresnet, width=0.25, blocks=1)


def make_experiment(backbone=PLAIN, **changes):
    """Build a new experiment with new data."""
    data = MultiTaskData(TASKS, make_split(65, 0), make_split(40, 1), make_split(40, 2))
    spec = spec_of(backbone, TASKS, data.image_shape)
    settings = TrainingSettings(
        epochs=EPOCHS, batch_size=16, lr=0.02, device="cpu", task_weighting="uncertainty", monte_carlo_samples=2
    )
    augmentation = Augmentation(flips=("horizontal",), crop=1)
    return Experiment(data, spec, replace(settings, **changes), augmentation)


def make_experiment_with_holes():
    """Build the experiment without a third of its labels, and with batches that lack a task."""
    experiment = make_experiment()
    for split in (experiment.data.train, experiment.data.validation, experiment.data.test):
        generator = torch.Generator().manual_seed(len(split))
        hidden = torch.rand(2, len(split), generator=generator) < torch.tensor([[1 / 3], [0.9]])
        split.targets["bright"] = split.targets["bright"].masked_fill(hidden[0], MISSING)
        split.targets["mean"] = split.targets["mean"].masked_fill(hidden[1], torch.nan)
    return experiment


def make_dense_experiment_with_holes():
    """Build the experiment on patches, one image in three without a task, and rotations that hide their corners."""
    experiment = make_dense_experiment(holes=True)
    return replace(experiment, augmentation=Augmentation(crop=1, padding="zero", rotation=20.0))


def make_dense_experiment(holes=False):
    """Build an experiment on patches, whose positions every epoch draws anew, with blocks between layers."""
    tasks = (Segmentation("region"), DenseRegression("level"))

    def images(number, seed):
        generator = torch.Generator().manual_seed(seed)
        values = [torch.rand(1, 9 + index % 3, 10, generator=generator) for index in range(number)]
        region, level = [(v[0] > 0.5).short() for v in values], [v[0] * 2 for v in values]
        for index in range(0, number if holes else 0, 3):
            region[index] = torch.full_like(region[index], MISSING)
            level[index - 1][1:3] = torch.nan
        return values, {"region": region, "level": level}

    data = MultiTaskData(
        tasks, RandomPatches(*images(6, 0), (6, 6), per_image=5), WholeImages(*images(3, 1)), WholeImages(*images(2, 2))
    )
    spec = spec_of(RESIDUAL, tasks, data.image_shape)
    return Experiment(
        data, spec, TrainingSettings(epochs=2, batch_size=8, lr=0.01, device="cpu", monte_carlo_samples=1)
    )


def searched(spec):
    proportions = {name: [0.3, 0.2, 0.5] for name in spec.filters}
    return FixedAllocation(Allocation.from_proportions(spec.filters, spec.task_names, proportions), repair=True)


def learned(_spec, **settings):
    return StochasticFilterGroups(SFGSettings(lr=0.2, **settings))


def shipped(registry):
    """Return the parts that come with the package; tests register more."""
    return {name: part for name, part in registry.items() if part.__module__.startswith("sfgsearch.")}


METHODS = {
    **{name: make for name, make in shipped(manual_methods).items() if name != "adashare"},  # on a residual network
    "searched": searched,
    "learned soft": learned,
    "learned hard": functools.partial(learned, hard=True),
    "learned prior": functools.partial(learned, prior=PriorSettings(family="learned")),
}


def result(trained):
    """Return all numbers of a training: plain data, and tensors."""
    plain = {
        "metrics": trained.metrics,
        "scores": trained.scores,
        "history": [report.to_dict() for report in trained.history],
        "allocation": trained.system.allocation().to_json(),
        "structure": trained.system.structure().to_dict(),
        "repairs": list(trained.system.repairs()),
        "monte_carlo": None if trained.monte_carlo is None else trained.monte_carlo.metrics,
    }
    tensors = {
        **{f"system/{name}": tensor for name, tensor in trained.system.state_dict().items()},
        **{f"predictor/{name}": tensor for name, tensor in trained.predictor.state_dict().items()},
        **{f"probabilities/{name}": tensor for name, tensor in trained.system.probabilities().items()},
    }
    return plain, tensors


def assert_same(left, right):
    assert left[0] == right[0]
    assert left[1].keys() == right[1].keys()
    differing = [name for name, tensor in left[1].items() if not torch.equal(tensor, right[1][name])]
    assert differing == []


def train(make, method, session=None, seed=3, **options):
    experiment = make()
    return experiment.train(METHODS[method](experiment.spec), seed, splits=SPLITS, session=session, **options)


def train_with_stops(make, method, path, stops, lost=()):
    """Train, interrupted after every stop, with objects that are all new; return the training and who ended it."""
    seen = []
    while True:
        session = Interrupting(CheckpointFolder(path), set(stops) - set(seen), set(lost) - set(seen))
        try:
            return train(make, method, session), seen
        except InterruptionError as stop:
            seen.append(stop.args[0])
        assert session.problems == []


@functools.cache
def twin(make, method):
    return result(train(make, method))


TOTAL = EPOCHS * STEPS_PER_EPOCH


@pytest.mark.parametrize("method", METHODS)
def test_stops_within_epochs_and_at_their_ends_change_nothing(tmp_path, method):
    chance = random.Random(method)
    stops = {*chance.sample(range(1, TOTAL), 4), chance.randrange(1, EPOCHS) * STEPS_PER_EPOCH, TOTAL}
    trained, seen = train_with_stops(make_experiment, method, tmp_path, stops)
    assert seen == sorted(stops)
    assert_same(result(trained), twin(make_experiment, method))


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (make_experiment_with_holes, "learning_to_branch"),
        (make_experiment_with_holes, "learned soft"),
        (make_dense_experiment_with_holes, "searched"),
    ],
)
def test_stops_change_nothing_where_labels_are_missing(tmp_path, make, method):
    stops = {1, 5, 8}
    trained, seen = train_with_stops(make, method, tmp_path, stops)
    assert seen == sorted(stops)
    assert_same(result(trained), twin(make, method))


@pytest.mark.parametrize("method", ["maximum_roaming", "learned hard"])
def test_a_stop_after_every_single_step_changes_nothing(tmp_path, method):
    trained, seen = train_with_stops(make_experiment, method, tmp_path, range(1, TOTAL + 1))
    assert seen == list(range(1, TOTAL + 1))
    assert_same(result(trained), twin(make_experiment, method))


def adashare_on_residual_blocks():
    return make_experiment(WIDER)


def test_stops_change_nothing_where_blocks_are_selected(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "adashare", functools.partial(manual_methods["adashare"], lr=0.5))
    stops = {1, 3, 6, 9, 15}
    trained, seen = train_with_stops(adashare_on_residual_blocks, "adashare", tmp_path, stops)
    assert seen == sorted(stops)
    assert any(not all(selected) for selected in trained.system.policy().values())
    assert_same(result(trained), result(train(adashare_on_residual_blocks, "adashare")))


@pytest.mark.parametrize(("method", "stops"), [("learned soft", (3, 4)), ("searched", (1, 7, 8))], ids=str)
def test_random_patches_are_those_of_the_twin(tmp_path, method, stops):
    trained, seen = train_with_stops(make_dense_experiment, method, tmp_path, stops)
    assert seen == list(stops)
    assert_same(result(trained), twin(make_dense_experiment, method))


def test_steps_after_the_last_checkpoint_are_trained_again(tmp_path):
    trained, seen = train_with_stops(make_experiment, "maximum_roaming", tmp_path, {3, 7}, lost={2, 6, 12})
    assert seen == [2, 3, 6, 7, 12]
    assert_same(result(trained), twin(make_experiment, "maximum_roaming"))


def test_a_damaged_checkpoint_costs_time_only(tmp_path):
    with pytest.raises(InterruptionError):
        train(make_experiment, "learned soft", Interrupting(CheckpointFolder(tmp_path), lost={11}, every=0))
    newest = sorted(tmp_path.glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-7])
    session = FolderSession(CheckpointFolder(tmp_path))
    assert_same(result(train(make_experiment, "learned soft", session)), twin(make_experiment, "learned soft"))
    assert "falling back to that of step 4" in session.problems[0]


def test_no_epoch_is_reported_again_after_a_checkpoint_at_its_end(tmp_path):
    reported = []
    for stops in ({4}, {9}, {16}, set()):
        session = Interrupting(CheckpointFolder(tmp_path), stops)
        if stops:
            with pytest.raises(InterruptionError):
                train(make_experiment, "equal", session, on_epoch=reported.append)
        else:
            trained = train(make_experiment, "equal", session, on_epoch=reported.append)
    assert [report.epoch for report in reported] == [0, 1, 2, 3]
    assert trained.history == reported


def test_an_epoch_whose_end_was_not_saved_is_reported_again_with_the_same_numbers(tmp_path):
    reported = []

    def stop(report):
        reported.append(report)
        if len(reported) == 2:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train(make_experiment, "equal", FolderSession(CheckpointFolder(tmp_path), every=0), on_epoch=stop)
    train(make_experiment, "equal", FolderSession(CheckpointFolder(tmp_path), every=0), on_epoch=reported.append)
    assert [report.epoch for report in reported] == [0, 1, 1, 2, 3]
    assert reported[1] == reported[2]


def test_a_training_that_was_done_goes_straight_to_the_evaluation(tmp_path):
    first = train(make_experiment, "learned prior", FolderSession(CheckpointFolder(tmp_path), every=0))
    trained = CheckpointFolder(tmp_path).load().state["seconds"]
    reported = []
    again = train(make_experiment, "learned prior", FolderSession(CheckpointFolder(tmp_path)), on_epoch=reported.append)
    assert reported == []
    assert_same(result(again), result(first))
    assert again.seconds > trained > 0, "the time of training counts"


class InMemorySession(Interrupting):
    """Gives a checkpoint, and keeps the one at its stop."""

    def __init__(self, checkpoint=None, stops=()):
        super().__init__(CheckpointFolder("unused"), stops)
        self.checkpoint = checkpoint

    def restore(self):
        return self.checkpoint

    def save(self, capture):
        self.checkpoint = capture()


def test_what_goes_on_from_a_checkpoint_leaves_it_as_it_is():
    first = InMemorySession(stops={6})
    with pytest.raises(InterruptionError):
        train(make_experiment, "maximum_roaming", first)
    for _ in range(2):
        trained = train(make_experiment, "maximum_roaming", InMemorySession(first.checkpoint))
        assert_same(result(trained), twin(make_experiment, "maximum_roaming"))


OTHER = {
    "seed": ({}, "equal", 4),
    "epochs": ({"epochs": 3}, "equal", 3),
    "lr": ({"lr": 0.01}, "equal", 3),
    "task_weighting": ({"task_weighting": "fixed"}, "equal", 3),
    "method": ({}, "single_task", 3),
}


@pytest.mark.parametrize("differing", OTHER)
def test_checkpoints_of_another_training_are_rejected_with_the_reason(tmp_path, differing):
    with pytest.raises(InterruptionError):
        train(make_experiment, "equal", Interrupting(CheckpointFolder(tmp_path), {6}))
    changes, method, seed = OTHER[differing]
    make = functools.partial(make_experiment, **changes)
    session = FolderSession(CheckpointFolder(tmp_path))
    trained = train(make, method, session, seed)
    (problem,) = session.problems
    assert f"starts anew: {differing} was" in problem
    assert not tmp_path.exists()
    assert_same(result(trained), result(train(make, method, seed=seed)))


def with_other_weights(data):
    return replace(data, tasks=(replace(data.tasks[0], class_weights=(1.0, 2.0)), *data.tasks[1:]))


@pytest.mark.parametrize(
    ("alter", "differing"),
    [
        (lambda data: replace(data, test=make_split(40, 3)), "digest of the data was"),
        (lambda data: replace(data, train=make_split(30, 3)), "digest of the data was"),
        (with_other_weights, "tasks was"),
    ],
)
def test_checkpoints_of_other_data_are_rejected_with_the_reason(tmp_path, alter, differing):
    with pytest.raises(InterruptionError):
        train(make_experiment, "equal", Interrupting(CheckpointFolder(tmp_path), {6}))

    def make():
        experiment = make_experiment()
        return replace(experiment, data=alter(experiment.data))

    session = FolderSession(CheckpointFolder(tmp_path))
    train(make, "equal", session)
    (problem,) = session.problems
    (reason,) = problem.partition("starts anew: ")[2].split("; ")
    assert reason.startswith(differing)


def test_where_a_training_runs_makes_no_other_training(tmp_path):
    with pytest.raises(InterruptionError):
        train(make_experiment, "equal", Interrupting(CheckpointFolder(tmp_path), {6}))
    session = FolderSession(CheckpointFolder(tmp_path))
    train(functools.partial(make_experiment, threads=1, monte_carlo_samples=0), "equal", session)
    assert session.problems == []


@pytest.mark.parametrize("damage", ["tensor", "shape", "state"])
def test_content_that_does_not_fit_is_rejected_and_leaves_no_trace(tmp_path, damage):
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(InterruptionError):
        train(make_experiment, "maximum_roaming", Interrupting(folder, {6}))
    checkpoint = folder.load()
    if damage == "tensor":
        del checkpoint.tensors["system/roaming/generator"]
    elif damage == "shape":
        name = next(name for name, tensor in checkpoint.tensors.items() if name[:7] == "system/" and tensor.ndim == 4)
        checkpoint.tensors[name] = torch.zeros(1, 2, 3)
    else:
        del checkpoint.state["history"][0]["score"]
    folder.save(checkpoint, 7)
    session = FolderSession(CheckpointFolder(tmp_path))
    assert_same(result(train(make_experiment, "maximum_roaming", session)), twin(make_experiment, "maximum_roaming"))
    assert "its content is not that of this training" in session.problems[0]


def test_own_methods_are_known_by_what_they_say_of_themselves(tmp_path):
    """A method without a ``repr`` of its own has an address in it, which is another in every process."""

    class Own(FixedAllocation):
        __repr__ = object.__repr__

    def run(session):
        experiment = make_experiment()
        return experiment.train(
            Own(Allocation.equal(experiment.spec.filters, experiment.spec.task_names)), 3, session=session
        )

    with pytest.raises(InterruptionError):
        run(Interrupting(CheckpointFolder(tmp_path), {6}))
    session = Interrupting(CheckpointFolder(tmp_path))
    run(session)
    assert session.problems == []


def train_study(file, folder, output):
    """Train the study's learned candidate, saving after every step, and write its numbers; for other processes."""

    class EveryStep(FolderSession):
        def after_step(self, capture):
            self.save(capture)
            print("step", flush=True)

    torch.set_num_threads(1)
    experiment = build_experiment(load_config(file))
    session = EveryStep(CheckpointFolder(folder), every=0) if folder else None
    trained = experiment.train(StochasticFilterGroups(SFGSettings(hard=True)), 5, splits=SPLITS, session=session)
    plain, tensors = result(trained)
    torch.save(tensors, output.with_suffix(".pt"))
    output.write_text(json.dumps(plain))


def start(file, folder, output):
    code = "import sys, pathlib, test_resume; test_resume.train_study(*map(pathlib.Path, sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    arguments = [sys.executable, "-c", code, file, folder, output]
    return subprocess.Popen([*map(str, arguments)], stdout=subprocess.PIPE, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_process_that_is_killed_is_taken_over_by_another(study_file, tmp_path):
    file = study_file(training={"batch_size": 128, "epochs": 3})
    chance = random.Random(1)
    output = tmp_path / "resumed.json"
    for kill in (True, False):
        with start(file, tmp_path / "checkpoints", output) as process:
            if kill:
                for _ in range(chance.randrange(2, 8)):
                    assert process.stdout.readline() == b"step\n"
                time.sleep(chance.random() * 0.02)
                process.kill()
            else:
                process.communicate()
        assert output.exists() != kill
        assert process.returncode == (-signal.SIGKILL if kill else 0)
    train_study(file, None, tmp_path / "twin.json")
    resumed, uninterrupted = (
        (json.loads(path.read_text()), torch.load(path.with_suffix(".pt"))) for path in (output, tmp_path / "twin.json")
    )
    assert_same(resumed, uninterrupted)
