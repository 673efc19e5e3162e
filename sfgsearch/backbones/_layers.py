"""Layers of the built-in backbones, and the table of backbones that study files can name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from sfgsearch._registry import Registry
from sfgsearch.errors import BackboneError
from sfgsearch.nn import norm_factory

backbones: Registry[Callable[..., nn.Module]] = Registry(
    "backbone", "@sfgsearch.backbones.backbones.register('my_backbone')"
)
"""Functions of ``(image_shape, *, options...)`` that return any module of features; see
:class:`sfgsearch.nn.MultiTaskNetwork`. The keyword options are what a study file may set; the study's norm is one. An
option ``width``, a float that scales the filters of all layers, lets a comparison match multiply-adds."""


_LEAST, _MOST = 1e-3, 100.0
_GOLDEN = (5**0.5 - 1) / 2
_TINY = 1e-9
"""Rounding error of products that should be whole."""


def widen(filters: Sequence[int], width: float) -> list[int]:
    """Return the filters of every layer times a factor as whole numbers, at least one.

    Layers round up at different parts of a filter, spread by the golden ratio: where all did at one half, those of
    equal filters would grow at the same widths, and multiply-adds in steps too large to be matched.

    Raises:
        BackboneError: If the factor is not from 0.001 to 100.
    """
    if not _LEAST <= width <= _MOST:
        raise BackboneError(f"width must be from {_LEAST:g} to {_MOST:g}, got {width}")
    parts = ((0.5 + layer * _GOLDEN) % 1 for layer in range(len(filters)))
    return [max(1, math.floor(count * width + part + _TINY)) for count, part in zip(filters, parts, strict=True)]


def conv3(dimensions: int, inputs: int, outputs: int, norm: str, dilation: int = 1, **options: Any) -> nn.Module:
    """Build a 3x3 (3x3x3) convolution that keeps the size of its input, with a bias unless a norm follows.

    Its weights are drawn for ReLU (He et al., ICCV 2015).

    Args:
        dimensions: Spatial dimensions, 2 or 3.
        inputs: C.
        outputs: K.
        norm: What follows.
        dilation: As in torch's convolutions.
        options: Others of torch's convolutions.
    """
    make = nn.Conv2d if dimensions == 2 else nn.Conv3d
    layer = make(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=norm == "none", **options)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def norm_of(dimensions: int, channels: int, norm: str) -> nn.Module:
    """Build the norm of a name for so many channels."""
    return norm_factory(norm, dimensions)(channels)
