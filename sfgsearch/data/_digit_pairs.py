"""Pairs of overlaid digits: two classifications in one small image."""

from __future__ import annotations

import numpy as np
import torch

from sfgsearch._registry import data_sets
from sfgsearch.data._sources import stratified_split
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification

_SIDE, _CLASSES, _BRIGHTEST = 8, 10, 16.0


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
    if not 1 <= shift <= _SIDE or pairs_per_digit < 1:
        raise DataError(f"shift must be 1 to {_SIDE} and pairs_per_digit at least 1, got {shift} and {pairs_per_digit}")
    from sklearn.datasets import load_digits  # takes a second to load, for these data alone

    digits = load_digits()
    random = np.random.default_rng(seed)
    train, validation, test = (
        _pair(digits, members, shift, pairs_per_digit, random) for members in stratified_split(digits.target, seed)
    )
    tasks = (Classification("first", num_classes=_CLASSES), Classification("second", num_classes=_CLASSES))
    return MultiTaskData(tasks, train, validation, test)


def _pair(digits, members, shift: int, repeats: int, random: np.random.Generator) -> InMemory:  # type: ignore[no-untyped-def]
    first = np.tile(members, repeats)
    second = np.concatenate([random.permutation(members) for _ in range(repeats)])
    canvas = np.zeros((2, len(first), _SIDE + shift, _SIDE + shift), dtype=np.float32)
    canvas[0, :, :_SIDE, :_SIDE] = digits.images[first]
    canvas[1, :, shift:, shift:] = digits.images[second]
    images = torch.from_numpy(canvas.max(axis=0) / _BRIGHTEST)[:, None]
    targets = {"first": torch.from_numpy(digits.target[first]), "second": torch.from_numpy(digits.target[second])}
    return InMemory(images, targets)
