"""Clothes with digits: idx files, the overlay, and sources that stay in their split."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from sfgsearch.data import fashion_digits
from sfgsearch.data._digits import mnist_digits, stratified_split
from sfgsearch.data._fashion_digits import read_idx
from sfgsearch.errors import DataError

SPLITS = ("train", "validation", "test")
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
TRAIN, TEST = 60, 20


def write_idx(path, values):
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture
def folder(tmp_path):
    """Garments whose every pixel in the first row is their number: training from 0, test from 100."""
    for part, first, number in (("train", 0, TRAIN), ("t10k", 100, TEST)):
        images = np.zeros((number, 28, 28))
        images[:, 0] = np.arange(first, first + number)[:, None]
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(number) % 10)
    return tmp_path


def garments_of(split):
    return (split.images[:, 0, 0, 0] * 255).round().long()


def test_images_show_the_brighter_of_garment_and_digit(folder):
    data = fashion_digits(0, path=folder, pairs=80, evaluation_pairs=30)
    digits, labels = mnist_digits()
    assert data.image_shape == (1, 36, 36)
    for split, members in zip(SPLITS, stratified_split(labels, 0), strict=True):
        images, targets = getattr(data, split).images, getattr(data, split).targets
        garment = garments_of(getattr(data, split))
        assert torch.equal(garment % 10, targets["garment"])
        own = {digits[member].tobytes(): labels[member] for member in members}
        for image, digit in zip(images[:, 0, 8:, 8:], targets["digit"], strict=True):
            assert own[image.contiguous().numpy().tobytes()] == digit, "a digit of this split, with its class"


def test_no_garment_is_in_two_splits(folder):
    data = fashion_digits(1, path=folder, pairs=200, evaluation_pairs=100)
    train, validation, test = (set(garments_of(getattr(data, split)).tolist()) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (50, 10, 20)
    assert not train & validation
    assert train | validation == set(range(TRAIN))
    assert test == set(range(100, 100 + TEST))


def test_sizes_and_seed(folder):
    one, same, other = (fashion_digits(seed, path=folder, pairs=40, evaluation_pairs=15) for seed in (2, 2, 3))
    assert [len(getattr(one, split)) for split in SPLITS] == [40, 15, 15]
    assert torch.equal(one.train.images, same.train.images)
    assert not torch.equal(one.train.images, other.train.images)
    assert [task.hidden for task in one.tasks] == [64, 64]


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_installed_files_hold_the_published_data():
    images, labels = (
        read_idx(INSTALLED / f"t10k-{name}-ubyte.gz", n) for name, n in (("images-idx3", 3), ("labels-idx1", 1))
    )
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10
    data = fashion_digits(0, pairs=100, evaluation_pairs=50)
    assert data.train.images.amax((1, 2, 3)).min() > 0.5


def test_a_missing_folder_names_package_and_option(tmp_path):
    with pytest.raises(DataError, match=r"absent/train-images.*dataset-fashion-mnist, or set path"):
        fashion_digits(0, path=tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text", "cannot read"),
        (gzip.compress(bytes(40))[:20], "cannot read"),
        (gzip.compress(b""), "begins with nothing"),
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 1, 5])), "begins with 00 00 0d 01 instead of 00 00 08 01"),
        (gzip.compress(bytes([0, 0, 8, 3, *bytes(12)])), "in 1 dimensions"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 5])), "holds 2 values instead of 3"),
    ],
    ids=["text", "truncated", "empty", "type", "dimensions", "values"],
)
def test_broken_idx_files_are_named(tmp_path, content, reason):
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"labels\.gz.*{reason}|{reason}.*labels\.gz"):
        read_idx(path, 1)


def test_files_that_disagree_are_refused(folder):
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(TRAIN - 1))
    with pytest.raises(DataError, match="for 59 labels"):
        fashion_digits(0, path=folder)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(TRAIN, 10))
    with pytest.raises(DataError, match="has the label 10"):
        fashion_digits(0, path=folder)


@pytest.mark.parametrize("options", [{"pairs": 0}, {"evaluation_pairs": 0}])
def test_sizes_out_of_range_are_refused(folder, options):
    with pytest.raises(DataError, match="at least 1"):
        fashion_digits(0, path=folder, **options)
