"""Rotated digits: direction and amount against scipy, and splits of the digits before they are rotated."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from sfgsearch.data import rotated_mnist
from sfgsearch.data._digits import mnist_digits, stratified_split
from sfgsearch.data._interpolation import rotate
from sfgsearch.errors import DataError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data():
    return rotated_mnist(3)


def turned_by_scipy(image, degrees):
    """Scipy turns counterclockwise as one sees the image."""
    return ndimage.rotate(image.astype(np.float64), degrees, reshape=False, order=1, mode="grid-constant")


@pytest.mark.parametrize("shape", [(9, 9), (6, 11), (10, 7)])
def test_rotation_is_that_of_scipy(shape):
    images = torch.rand(5, 2, *shape, generator=torch.Generator().manual_seed(0))
    degrees = torch.tensor([-170.0, -33.0, 0.0, 12.5, 90.0])
    for image, angle, turned in zip(images, degrees, rotate(images, degrees), strict=True):
        for channel, own in zip(image, turned, strict=True):
            expected = turned_by_scipy(channel.numpy(), float(angle))
            np.testing.assert_allclose(own, expected, atol=1e-4)


def test_a_quarter_turn_moves_the_right_edge_to_the_top():
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 4] = 1
    turned = rotate(image, torch.tensor([90.0]), "nearest")
    assert turned[0, 0, 0, 2] == 1
    assert turned.sum() == 1


def test_every_image_is_a_digit_of_its_class_turned_by_its_angle(data):
    digits, labels = mnist_digits()
    train, _, _ = stratified_split(labels, 3)
    for index in (0, 7, 1234):
        angle = float(data.train.targets["angle"][index]) * 60
        expected = turned_by_scipy(digits[train[index]], angle)
        np.testing.assert_allclose(data.train.images[index, 0], expected, atol=1e-4)
        assert data.train.targets["digit"][index] == labels[train[index]]


def test_shapes_sizes_and_tasks(data):
    assert [len(getattr(data, split)) for split in SPLITS] == [3000, 1000, 1000]
    assert data.image_shape == (1, 28, 28)
    digit, angle = data.tasks
    assert (digit.name, digit.num_classes, digit.hidden) == ("digit", 10, 64)
    assert (angle.name, angle.scale, angle.unit, angle.hidden) == ("angle", 60.0, "degrees", 64)
    for split in SPLITS:
        assert getattr(data, split).targets["digit"].bincount().unique().numel() == 1


def test_angles_are_uniform(data):
    angles = data.train.targets["angle"].double()
    assert angles.abs().max() <= 1
    assert abs(angles.mean()) < 0.05
    assert angles.square().mean() == pytest.approx(1 / 3, abs=0.03)


def test_no_digit_is_in_two_splits():
    _, labels = mnist_digits()
    members = np.concatenate(stratified_split(labels, 0))
    assert sorted(members) == list(range(5000))


def test_rotations_repeat_training_digits_at_other_angles(data):
    twice = rotated_mnist(3, rotations=2)
    assert [len(getattr(twice, split)) for split in SPLITS] == [6000, 1000, 1000]
    first, second = twice.train.targets["digit"].view(2, 3000)
    assert torch.equal(first, second)
    assert torch.equal(first, data.train.targets["digit"])
    one, other = twice.train.targets["angle"].view(2, 3000)
    assert (one != other).double().mean() > 0.99


def test_the_seed_fixes_everything_and_the_option_the_scale(data):
    assert torch.equal(data.test.images, rotated_mnist(3).test.images)
    assert not torch.equal(data.test.images, rotated_mnist(4).test.images)
    narrow = rotated_mnist(3, max_angle=15)
    assert torch.equal(narrow.train.targets["angle"], data.train.targets["angle"])
    assert narrow.tasks[1].scale == 15


@pytest.mark.parametrize("options", [{"max_angle": 0.0}, {"max_angle": 181.0}, {"rotations": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(DataError, match="max_angle must be above 0"):
        rotated_mnist(0, **options)
