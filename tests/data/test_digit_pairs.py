"""Digit pairs: real digits, split before they are paired."""

import pytest
import torch
from sklearn.datasets import load_digits

from sfgsearch.data import InMemory, batches, digit_pairs
from sfgsearch.errors import DataError

SPLITS = ("train", "validation", "test")


def sources(split, corner, shift=2):
    """Return the visible parts of one digit of every pair that the other does not cover, as a set of bytes."""
    strip = split.images[:, 0, :shift, :8] if corner == "first" else split.images[:, 0, -shift:, -8:]
    return {row.numpy().tobytes() for row in strip}


def test_pixels_are_the_brighter_of_two_real_digits():
    data, digits = digit_pairs(3, shift=2), torch.tensor(load_digits().images, dtype=torch.float32) / 16
    image, first, second = (
        data.train.images[5, 0],
        int(data.train.targets["first"][5]),
        int(data.train.targets["second"][5]),
    )
    labels = torch.tensor(load_digits().target)
    found = [
        (one, two)
        for one in digits[labels == first]
        if torch.equal(one[:2], image[:2, :8])
        for two in digits[labels == second]
        if torch.equal(two[-2:], image[-2:, 2:])
    ]
    canvases = [torch.zeros(2, 10, 10) for _ in found]
    for canvas, (one, two) in zip(canvases, found, strict=True):
        canvas[0, :8, :8], canvas[1, 2:, 2:] = one, two
    assert any(torch.equal(canvas.amax(0), image) for canvas in canvases)


@pytest.mark.parametrize("pairs_per_digit", [1, 3])
def test_shapes_and_sizes(pairs_per_digit):
    data = digit_pairs(0, shift=1, pairs_per_digit=pairs_per_digit)
    assert [len(getattr(data, split)) for split in SPLITS] == [n * pairs_per_digit for n in (1077, 360, 360)]
    assert data.image_shape == (1, 9, 9)
    assert [task.name for task in data.tasks] == ["first", "second"]
    assert data.train.images.min() == 0
    assert data.train.images.max() == 1


def test_no_digit_is_in_two_splits():
    """Uncovered rows of a digit tell it from nearly all others; a leak would make most of them common."""
    data = digit_pairs(0)
    for corner in ("first", "second"):
        train, test = (sources(split, corner) for split in (data.train, data.test))
        assert len(train & test) / len(test) < 0.35


def test_classes_are_balanced_in_every_split():
    data = digit_pairs(1)
    for split in SPLITS:
        counts = getattr(data, split).targets["first"].bincount().double()
        assert counts.min() / counts.max() > 0.9


def test_the_seed_fixes_everything():
    one, same, other = digit_pairs(4), digit_pairs(4), digit_pairs(5)
    assert torch.equal(one.train.images, same.train.images)
    assert not torch.equal(one.train.images, other.train.images)


@pytest.mark.parametrize("options", [{"shift": 0}, {"shift": 9}, {"pairs_per_digit": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(DataError, match="shift must be 1 to 8"):
        digit_pairs(0, **options)


def split_of(number):
    return InMemory(torch.arange(float(number)).view(-1, 1, 1, 1), {"a": torch.arange(number)})


def test_batches_keep_images_and_targets_together():
    seen = list(batches(split_of(10), 4, torch.device("cpu"), torch.Generator().manual_seed(0)))
    assert [len(images) for images, _ in seen] == [4, 4, 2]
    for images, targets in seen:
        assert torch.equal(images.flatten(), targets["a"].float())
    order = torch.cat([targets["a"] for _, targets in seen])
    assert sorted(order.tolist()) == list(range(10))
    assert order.tolist() != list(range(10))


def test_a_shuffled_epoch_drops_a_batch_of_one():
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    assert [len(images) for images, _ in batches(split_of(9), 4, device, generator)] == [4, 4]
    assert [len(images) for images, _ in batches(split_of(9), 4, device)] == [4, 4, 1]


def test_a_split_needs_as_many_targets_as_images():
    with pytest.raises(DataError, match=r"3 images and \{'a': 2\}"):
        InMemory(torch.zeros(3, 1, 2, 2), {"a": torch.zeros(2)})
