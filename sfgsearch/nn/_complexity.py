"""Parameters and multiply-adds of a network."""

from __future__ import annotations

import copy
from typing import NamedTuple

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


@torch.no_grad()
def complexity(network: nn.Module, image_shape: tuple[int, ...]) -> Complexity:
    """Count a network's parameters, and its multiply-adds for one image without computing anything.

    Args:
        network: Maps images of shape (1, C, *space) to anything.
        image_shape: (C, *space).
    """
    weightless = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        weightless(torch.empty(1, *image_shape, device="meta"))
    return Complexity(sum(p.numel() for p in network.parameters() if p.requires_grad), counter.get_total_flops() // 2)
