"""The study files that ship: a few steps of each train."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfgsearch import load_config
from sfgsearch.config import build_experiment, manual_candidates
from sfgsearch.data import InMemory
from sfgsearch.methods import SFGSettings, StochasticFilterGroups

STUDIES = Path(__file__).parents[1] / "studies"
GARMENTS = Path("/usr/share/datasets/fashion-mnist")
FACES = 40


@pytest.fixture
def faces(tmp_path):
    random = np.random.default_rng(0)
    for index in range(FACES):
        pixels = random.integers(256, size=(20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index + 1}_{index % 2}_0_{index:017}.jpg")
    return tmp_path


def first(split, number):
    return InMemory(split.images[:number], {name: target[:number] for name, target in split.targets.items()})


def train_a_few_steps(config):
    """Train the learned kind for an epoch on a few images, and check that it and the manual ones can be built."""
    experiment = build_experiment(config)
    data, settings = experiment.data, experiment.settings
    few = replace(data, train=first(data.train, 64), validation=first(data.validation, 32))
    short = replace(settings, epochs=1, device="cpu", calibration_batches=1)
    trained = replace(experiment, data=few, settings=short).train(StochasticFilterGroups(SFGSettings()), 0)
    assert len(trained.history) == 1
    assert set(manual_candidates(config, experiment.spec)) == set(config.manual.names)
    return experiment


def test_all_but_the_quick_start_compare_at_equal_multiply_adds():
    matches = {path.stem: load_config(path).comparison.match for path in STUDIES.glob("*.toml")}
    assert {name for name, match in matches.items() if match != "macs"} == {"quickstart"}


def test_rotated_mnist():
    experiment = train_a_few_steps(load_config(STUDIES / "rotated_mnist.toml"))
    assert experiment.spec.task_names == ("digit", "angle")
    assert not experiment.augmentation


def test_digit_pairs():
    experiment = train_a_few_steps(load_config(STUDIES / "digit_pairs.toml"))
    assert experiment.spec.task_names == ("first", "second")


@pytest.mark.skipif(not GARMENTS.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_digits():
    experiment = train_a_few_steps(load_config(STUDIES / "fashion_digits.toml"))
    assert experiment.spec.task_names == ("garment", "digit")


def test_utkface(faces):
    experiment = train_a_few_steps(load_config(STUDIES / "utkface.toml").with_overrides(data=faces))
    assert experiment.spec.task_names == ("age", "gender")
    assert experiment.augmentation.flips == ("horizontal",)
    assert experiment.data.tasks[0].loss == "l1"
    assert list(experiment.spec.filters.values()) == [32, 64, 128, 128, 256, 256, 256, 256]


def test_utkface_counts_from_the_study_file():
    assert load_config(STUDIES / "utkface.toml").data_options["path"] == str(STUDIES / "data" / "utkface")


def test_published_weight_decay_is_that_of_the_length_scale():
    length_scale = load_config(STUDIES / "utkface.toml").training.length_scale
    assert length_scale**2 / 16_594 == pytest.approx(5e-4, rel=0.02)
