"""Normalisations that treat every channel by itself.

Only these keep a compact network equal to the masked one it derives from: a norm over several channels (group or
layer norm) would see the channels that the compact network leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
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


@torch.no_grad()
def copy_channels(target: nn.Module, source: nn.Module, channels: Sequence[int]) -> None:
    """Copy the state of some channels of a per-channel norm into a norm that has just these.

    Args:
        target: Norm of ``len(channels)`` channels.
        source: Norm of the same class with all channels.
        channels: Indices into the source's channels, in the target's order.
    """
    index = torch.as_tensor(channels, dtype=torch.int64)
    wide = source.state_dict()
    for name, narrow in target.state_dict().items():
        narrow.copy_(wide[name] if wide[name].ndim == 0 else wide[name][index.to(wide[name].device)])
