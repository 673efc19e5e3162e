"""Augmentation in training: its own generator, training batches only."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.config import build_experiment
from sfgsearch.data import Augmentation, batches
from sfgsearch.errors import ConfigError
from sfgsearch.methods import FixedAllocation, Randomness

CPU = torch.device("cpu")


@pytest.fixture
def experiment(study):
    return build_experiment(study(augmentation={"crop": 1, "flips": ["horizontal"]}))


def train(experiment, seed=0):
    method = FixedAllocation(Allocation.hard_sharing(experiment.spec.filters, experiment.spec.task_names))
    return experiment.train(method, seed)


def test_the_first_generators_are_those_without_augmentation():
    """Seeds of existing studies go on giving the same numbers."""
    root = torch.Generator().manual_seed(11)
    expected = torch.randint(2**62, (3,), generator=root).tolist()
    randomness = Randomness.from_seed(11, CPU)
    for generator, seed in zip((randomness.weights, randomness.order, randomness.gates), expected, strict=True):
        assert generator.initial_seed() == seed
    assert randomness.augmentation.initial_seed() not in expected


def test_study_files_set_augmentation(experiment):
    assert experiment.augmentation == Augmentation(crop=1, flips=("horizontal",))


def test_augmentation_changes_training_reproducibly(experiment):
    one, same = train(experiment), train(experiment)
    without = train(replace(experiment, augmentation=Augmentation()))
    assert one.history == same.history
    assert one.history[0].loss != without.history[0].loss


def test_evaluation_and_calibration_see_the_images_as_they_are(experiment):
    plain = replace(experiment, augmentation=Augmentation())
    order = torch.Generator().manual_seed(0)
    every = batches(experiment.data.train, experiment.settings.batch_size, CPU, order)
    expected = islice(every, experiment.settings.calibration_batches)
    for seen, bare, (images, _) in zip(experiment._calibration(), plain._calibration(), expected, strict=True):
        assert torch.equal(seen, images)
        assert torch.equal(bare, images)
    predictor = train(plain).predictor
    assert experiment.evaluate(predictor, "validation") == plain.evaluate(predictor, "validation")


@pytest.mark.parametrize(
    ("section", "key", "remedy"),
    [
        ({"flips": ["sideways"]}, "augmentation.flips.0", "'horizontal'"),
        ({"flips": ["depth"]}, "augmentation", "'horizontal', 'vertical' here"),
        ({"crop": 10}, "augmentation", "below the 10 pixels"),
        ({"rotation": 200.0}, "augmentation.rotation", "less than or equal to 180"),
        ({"zoom": 2}, "augmentation.zoom", "allowed: flips, crop, padding, rotation"),
    ],
)
def test_bad_augmentation_names_key_and_remedy(study, section, key, remedy):
    with pytest.raises(ConfigError) as error:
        build_experiment(study(augmentation=section))
    assert f"tiny.toml: {key}: " in str(error.value)
    assert remedy in str(error.value)
