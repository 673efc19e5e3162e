"""The traced program of a network, with as many free sizes as it allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sfgsearch.errors import ExportError
from sfgsearch.export._verify import largest_difference, predict, random_images
from sfgsearch.graph import quiet
from sfgsearch.nn import Head

if TYPE_CHECKING:  # torch imports it on first use, which takes a while
    from torch.export import ExportedProgram

INPUT = "images"
_GREATER = 3
"""How many pixels a side the images have more in the trial of free space: no multiple, so that nothing fits by luck."""


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
