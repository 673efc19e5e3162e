"""Data that are not finite are named as such, not taken for a learning rate that is too high."""

import math

import pytest
import torch

from sfgsearch import Objective
from sfgsearch.data import InMemory, MultiTaskData, RandomPatches, Split, WholeImages, data_sets
from sfgsearch.errors import ConfigError, DataError, NonFiniteLossError
from sfgsearch.tasks import Classification, DenseRegression, Regression

SPLITS = ("train", "validation", "test")
ONE = {
    "backbone": {"name": "vgg_small", "plan": [4, "pool", 6]},
    "manual": {"methods": ["equal"], "options": None},
    "quota": {"learned": 0, "searched": 0},
    "training": {"epochs": 1, "batch_size": 64},
}


MAKERS = []
"""The function that makes the data set of the test."""


@data_sets.register("finite_or_not")
def finite_or_not(seed: int):
    del seed
    return MAKERS[-1]()


class Lazy(Split):
    """A split that reads its images when they are used."""

    def __init__(self, images, targets):
        self._images, self._targets = images, targets

    def __len__(self):
        return len(self._images)

    def __getitems__(self, indices):
        return self._images[indices], {name: target[indices] for name, target in self._targets.items()}

    @property
    def image_shape(self):
        return tuple(self._images.shape[1:])

    def target(self, name):
        return self._targets[name]


def draw(seed, count=300):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    return images, {"sign": (images.mean((1, 2, 3)) > 0).long(), "mean": images.mean((1, 2, 3))}


def flat(make, damage):
    """Make a data set of which one split is damaged."""
    parts = [draw(seed) for seed in range(3)]
    damage(parts)
    return MultiTaskData((Classification("sign", num_classes=2), Regression("mean")), *(make(*part) for part in parts))


def set_image(split, image, value):
    def damage(parts):
        parts[split][0][image, 0, 3, 4] = value

    return damage


@pytest.fixture
def load(study):
    """Return a function that loads a data set by way of a study file."""

    def load(make):
        MAKERS.append(make)
        return Objective(study(**ONE, data={"name": "finite_or_not", "pairs_per_digit": None})).experiment

    return load


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("split", range(3), ids=SPLITS)
def test_images_that_are_not_finite_are_refused_with_their_split_and_number(load, split, value):
    message = rf"data: {SPLITS[split]} split: image 280 .* holds NaN or infinity, as 1 of 300 images do"
    with pytest.raises(ConfigError, match=message):
        load(lambda: flat(InMemory, set_image(split, 280, value)))


@pytest.mark.parametrize(
    "make", [WholeImages, lambda *part: RandomPatches(*part, size=(4, 4))], ids=["whole", "patches"]
)
def test_images_of_any_size_are_checked_whole(load, make):
    def dense():
        images = [torch.randn(1, 8, 8) for _ in range(4)]
        whole, damaged = (images, {"copy": [image[0] for image in images]}), [image.clone() for image in images]
        damaged[2][0, 7, 7] = math.nan
        tasks = (DenseRegression("copy"),)
        return MultiTaskData(tasks, make(damaged, whole[1]), WholeImages(*whole), WholeImages(*whole))

    with pytest.raises(ConfigError, match=r"train split: image 2 .* as 1 of 4 images do"):
        load(dense)


@pytest.mark.parametrize("split", range(3), ids=SPLITS)
def test_infinite_targets_are_refused_and_missing_ones_are_not(load, split):
    def damage(parts):
        parts[split][1]["mean"][5] = math.inf

    def hide(parts):
        parts[split][1]["mean"][5] = math.nan

    with pytest.raises(ConfigError, match=rf"task 'mean', {SPLITS[split]} split: a target is infinite"):
        load(lambda: flat(InMemory, damage))
    load(lambda: flat(InMemory, hide))


def test_infinite_dense_targets_are_refused(load):
    def dense():
        images = [torch.randn(1, 8, 8) for _ in range(4)]
        targets = [image[0].clone() for image in images]
        targets[1][0, 0] = math.inf
        whole = WholeImages(images, {"copy": targets})
        return MultiTaskData((DenseRegression("copy"),), whole, whole, whole)

    with pytest.raises(ConfigError, match="a target is infinite"):
        load(dense)


@pytest.mark.parametrize("split", range(3), ids=SPLITS)
def test_images_that_are_read_late_are_named_when_they_spoil_a_training(load, split):
    experiment = load(lambda: flat(Lazy, set_image(split, 7, math.nan)))
    with pytest.raises(DataError, match=rf"{SPLITS[split]} split: image 7 .* 1 of 300") as caught:
        experiment.train(_equal(experiment), 0, splits=SPLITS)
    assert "learning rate" not in str(caught.value)


def test_logits_that_are_not_finite_pass_for_no_class(load):
    """The greatest of logits that are NaN would be that of the first class."""

    def classes_only(damage):
        data = flat(Lazy, damage)
        return MultiTaskData(data.tasks[:1], data.train, data.validation, data.test)

    def damage(parts):
        for index in range(0, 300, 3):
            set_image(2, index, math.nan)(parts)

    experiment = load(lambda: classes_only(damage))
    with pytest.raises(DataError, match=r"test split: image 0 .* 100 of 300"):
        experiment.train(_equal(experiment), 0, splits=SPLITS)
    network = experiment.train(_equal(experiment), 0).predictor
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(math.nan)
    assert experiment.evaluate(network, "validation") == {}


def test_a_loss_that_diverges_on_good_data_still_asks_for_a_lower_learning_rate(load):
    experiment = load(lambda: flat(Lazy, lambda parts: parts[0][1]["mean"].mul_(1e38)))
    with pytest.raises(NonFiniteLossError, match="lower the learning rate"):
        experiment.train(_equal(experiment), 0)


def _equal(experiment):
    from sfgsearch.methods import manual_methods

    return manual_methods["equal"](experiment.spec)
