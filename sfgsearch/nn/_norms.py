"""Normalisations that treat every channel by itself, which groups pass through untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

NormName = Literal["batch", "instance", "none"]
NormFactory = Callable[[int], nn.Module]

_NORMS: dict[tuple[str, int], NormFactory] = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): lambda channels: nn.InstanceNorm2d(channels, affine=True),
    ("instance", 3): lambda channels: nn.InstanceNorm3d(channels, affine=True),
}


def norm_factory(name: str, dimensions: int) -> NormFactory:
    """Return what builds a norm for a number of channels.

    Args:
        name: ``"batch"``, ``"instance"`` or ``"none"``.
        dimensions: Spatial dimensions, 2 or 3.

    Raises:
        ValueError: If the name or the number of dimensions is unknown.
    """
    if name not in get_args(NormName):
        raise ValueError(f"norm must be one of {', '.join(get_args(NormName))}, got {name!r}")
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
    return _NORMS.get((name, dimensions), lambda _channels: nn.Identity())
