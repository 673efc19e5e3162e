"""Plain checks of networks, independent of the library's own tools: counts by hand."""

import math

import torch
from torch import nn


def learns_from(network, images, spec, targets, parameters):
    """Return for every parameter and its every filter the tasks whose loss has a gradient there, shape (T, K)."""
    found = {key: [] for key in parameters}
    for task in spec.tasks:
        loss = task.negative_log_likelihood(network(images)[task.name], targets[task.name])
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for (key, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            found[key].append((gradient != 0).flatten(1).any(1))
    return {key: torch.stack(rows) for key, rows in found.items()}


def count_by_hand(network, images):
    """Count multiply-adds for one image from the shapes that pass through, and trainable numbers."""
    total = 0

    def add(module, _, output):
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            total += output[0].numel() * math.prod(module.kernel_size) * module.in_channels // module.groups
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    with torch.no_grad():
        network(images[:1])
    for hook in hooks:
        hook.remove()
    return total, sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
