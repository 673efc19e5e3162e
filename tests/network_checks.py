"""Plain checks of networks, independent of the library's own tools: counts by hand."""

import math

import torch
from torch import nn

CONVOLUTIONS = nn.Conv2d | nn.Conv3d


def count_by_hand(network, images):
    """Count multiply-adds for one image from the shapes that pass through, and trainable numbers."""
    total = 0

    def add(module, _inputs, output):
        nonlocal total
        if isinstance(module, CONVOLUTIONS):
            window = math.prod(module.kernel_size) * module.in_channels // module.groups
            total += output[0].numel() * window
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    with torch.no_grad():
        network(images[:1])
    for hook in hooks:
        hook.remove()
    return total, sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
