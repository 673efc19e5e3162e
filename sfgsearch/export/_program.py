"""Traced programs of networks, and the verification of what was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sfgsearch.errors import ExportError
from sfgsearch.graph import quiet
from sfgsearch.nn import Head

if TYPE_CHECKING:  # torch imports it on first use, which takes a while
    from torch.export import ExportedProgram


INPUT = "images"
_GREATER = 3
"""How many pixels a side the images have more in the trial of free space: no multiple, so that nothing fits by luck."""
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


@dataclass(frozen=True)
class Program:
    """A traced network.

    Args:
        exported: The program: images in, predictions by task name out.
        free_space: Whether images of other sizes than in training may enter; any number of them always may.
    """

    exported: ExportedProgram
    free_space: bool


def trace(network: nn.Module, image_shape: tuple[int, ...]) -> Program:
    """Trace a network for any batch size, and for any size of images where it predicts for every pixel.

    Args:
        network: The network in evaluation mode, on the CPU.
        image_shape: (C, *space) of one image in training.

    Raises:
        ExportError: If torch cannot trace it.
    """
    if any(isinstance(module, Head) and module.resize for module in network.modules()):
        program = _trace_free_space(network, image_shape)
        if program is not None:
            return Program(program, free_space=True)
    try:
        return Program(_trace(network, image_shape, free=(0,)), free_space=False)
    except Exception as error:  # torch raises what its tracers meet
        reason = str(error).splitlines()[0] if str(error) else ""
        raise ExportError(f"torch.export cannot trace the network: {type(error).__name__}: {reason}") from error


def _trace_free_space(network: nn.Module, image_shape: tuple[int, ...]) -> ExportedProgram | None:
    """Return a program for images of any size; None if there is none that computes what the network does."""
    larger = (image_shape[0], *(side + _GREATER for side in image_shape[1:]))
    images = random_images(larger)
    try:
        program = _trace(network, image_shape, free=(0, *range(2, len(image_shape) + 1)))
        largest_difference(predict(program.module(), images), predict(network, images))
    except Exception:  # a backbone may need sides of a certain multiple, or read sizes as numbers
        return None
    return program


def _trace(network: nn.Module, image_shape: tuple[int, ...], free: tuple[int, ...]) -> ExportedProgram:
    example = random_images(image_shape, batch=2)  # with a single image, the batch size would count as fixed
    dynamic = torch.export.Dim.DYNAMIC
    with quiet(), torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(dict.fromkeys(free, dynamic),), strict=False)
