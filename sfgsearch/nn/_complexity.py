"""Parameters and multiply-adds of a network."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Complexity(NamedTuple):
    """Size and cost of a network.

    Args:
        parameters: Trainable numbers.
        macs: Multiply-adds of convolutions and linear layers for one image.
    """

    parameters: int
    macs: int


_UNCOUNTED = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
"""Norms, which do not count, and without weights take longer than all else."""


@torch.no_grad()
def complexity(network: nn.Module, image_shape: tuple[int, ...]) -> Complexity:
    """Count a network's parameters, and its multiply-adds for one image without computing anything.

    Args:
        network: Maps images of shape (1, C, *space) to anything.
        image_shape: (C, *space).
    """
    with FlopCounterMode(display=False) as counter:
        _weightless(network)(torch.empty(1, *image_shape, device="meta"))
    return Complexity(sum(p.numel() for p in network.parameters() if p.requires_grad), counter.get_total_flops() // 2)


def _weightless(network: nn.Module) -> nn.Module:
    """Return a copy that has shapes only, and no norms."""
    instead: dict[int, Any] = {id(tensor): _shape_of(tensor) for tensor in [*network.parameters(), *network.buffers()]}
    instead |= {id(module): nn.Identity() for module in network.modules() if type(module) in _UNCOUNTED}
    copied: nn.Module = copy.deepcopy(network, instead)
    return copied.eval()


def _shape_of(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
