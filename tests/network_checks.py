"""Plain checks of networks, independent of the library's own tools: who learns from whom, and counts by hand."""

import math

import torch
from torch import nn

from sfgsearch.nn import AllocatedConv, CrossStitch, CrossStitchConv, RoutedConv, SFGConv

CONVOLUTIONS = nn.Conv2d | nn.Conv3d


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


def promised(network, tasks, tree):
    """Return for every convolution's weight the tasks that may teach each of its filters, bool of shape (T, K)."""
    promise = {}
    everyone = torch.ones(tasks, dtype=torch.bool)
    for path, module in network.named_modules():
        if isinstance(module, AllocatedConv):
            for group, sequence in module.groups.items():
                teachers = everyone if int(group) == tasks else torch.arange(tasks) == int(group)
                if tree is not None:
                    teachers = torch.tensor([task in tree[module][int(group)] for task in range(tasks)])
                promise[f"{path}.groups.{group}.0.weight"] = teachers, len(sequence[0].weight)
        elif isinstance(module, CrossStitchConv):
            for task in range(tasks):
                promise[f"{path}.tasks.{task}.0.weight"] = everyone, len(module.tasks[task][0].weight)
        elif isinstance(module, RoutedConv):
            promise[f"{path}.conv.weight"] = module.masks.bool(), len(module.conv.weight)
    return {
        key: teachers if teachers.ndim == 2 else teachers[:, None].expand(-1, filters)
        for key, (teachers, filters) in promise.items()
    }


def readers(system, network):
    """Return the tasks that read each node of a branched network's layers, in the order of its layers."""
    if not hasattr(system, "tree"):
        return None
    layers = [module for module in network.modules() if isinstance(module, AllocatedConv)]
    return dict(zip(layers, system.tree().readers.values(), strict=True))


def count_by_hand(network, images):
    """Count multiply-adds for one image from the shapes that pass through, and trainable numbers."""
    total = 0

    def add(module, inputs, output):
        nonlocal total
        if isinstance(module, CONVOLUTIONS):
            window = math.prod(module.kernel_size) * module.in_channels
            total += output[0].numel() * window * len(inputs[0])
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, SFGConv):
            raise AssertionError("a network that predicts has no masks")
        elif isinstance(module, CrossStitch) and len(output) > 1:
            total += output.numel() * len(output)

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    with torch.no_grad():
        network(images[:1])
    for hook in hooks:
        hook.remove()
    return total, sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
