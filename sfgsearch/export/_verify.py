"""Whether what was written predicts what the network predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sfgsearch.errors import ExportError

TOLERANCE = 1e-5
"""Largest difference that is allowed, of outputs up to 1; of larger ones relative to a task's largest output."""

Predict = Callable[[Tensor], Mapping[str, Tensor]]
"""Maps images to predictions by task name."""


def random_images(image_shape: tuple[int, ...], batch: int = 3, seed: int = 0) -> Tensor:
    """Return standard normal images of shape (batch, C, *space)."""
    return torch.randn(batch, *image_shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def predict(network: Predict, images: Tensor) -> dict[str, Tensor]:
    """Return predictions by task name."""
    return dict(network(images))


def largest_difference(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    r"""Return the largest absolute difference between predictions.

    With outputs y of a task, :math:`\max_i |\hat y_i - y_i| \le 10^{-5} \max(1, \max_i |y_i|)` must hold.

    Args:
        ours: What the reloaded network predicts.
        expected: What the network itself predicts.

    Raises:
        ExportError: If tasks, shapes or values differ by more than that.
    """
    if list(ours) != list(expected):
        raise ExportError(f"the exported network predicts {list(ours)} instead of {list(expected)}")
    largest = 0.0
    for name, target in expected.items():
        if ours[name].shape != target.shape:
            raise ExportError(
                f"task {name!r}: the exported network predicts shape {tuple(ours[name].shape)} instead of "
                f"{tuple(target.shape)}"
            )
        difference = float((ours[name].double() - target.double()).abs().max())
        scale = max(1.0, float(target.abs().max()))
        if not difference <= TOLERANCE * scale:  # NaN fails too
            raise ExportError(
                f"task {name!r}: the exported network differs by {difference:.2g}, more than {TOLERANCE * scale:.2g}"
            )
        largest = max(largest, difference)
    return largest


def verify(reloaded: Predict, network: Predict, image_shape: tuple[int, ...]) -> float:
    """Compare a reloaded network with the one that was written, on random images in batches of one and several.

    Returns:
        The largest absolute difference.

    Raises:
        ExportError: If it is too large; see :func:`largest_difference`.
    """
    return max(
        largest_difference(predict(reloaded, images), predict(network, images))
        for images in (random_images(image_shape, 1, seed=1), random_images(image_shape, 3, seed=2))
    )
