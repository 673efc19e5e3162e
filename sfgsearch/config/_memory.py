"""Whether a network can be trained in the memory that there is, found out before any of it is allocated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfgsearch._memory import memory_limit
from sfgsearch.config._models import Config
from sfgsearch.errors import ConfigError
from sfgsearch.nn import NetworkSpec, complexity
from sfgsearch.training import resolve_device

_NUMBER = 4
_COPIES = 4
"""Of every weight: itself, its gradient, and the two moments of Adam."""

_FULL_WIDTH_PER_TASK = ("single_task", "cross_stitch", "learning_to_branch")


def check_memory(config: Config, spec: NetworkSpec, images: int) -> None:
    """Check that the plain network, its optimiser and a batch of activations fit into memory.

    What is counted is the least that training holds at once; that it fits does not promise that all else does.

    Args:
        config: The study file.
        spec: The network.
        images: Those of the training split.

    Raises:
        ConfigError: If it does not fit; it names the key to lower.
    """
    weights, heads, activations = _count(spec)
    if any(name in config.manual.methods for name in _FULL_WIDTH_PER_TASK):
        weights *= len(spec.tasks)
    batch = min(config.training.batch_size, images)
    there = _device_memory(config.training.device)
    backbone, hidden = _COPIES * _NUMBER * weights, _COPIES * _NUMBER * heads
    network = f"backbone.{', '.join(config.backbone.options) or 'name'}"
    for key, needed, what, remedy in (
        (network, backbone, "weights, gradients and moments of Adam", "make the network smaller"),
        ("tasks", backbone + hidden, "these and those of hidden layers", "lower tasks.<task>.hidden"),
        (network, 2 * _NUMBER * activations, "activations of two images", "make network or images smaller"),
        (
            "training.batch_size",
            backbone + hidden + batch * _NUMBER * activations,
            f"network and activations of {batch} images",
            "lower it",
        ),
    ):
        if needed > there:
            raise ConfigError(
                f"needs at least {needed / 2**30:,.1f} GiB for {what}, and there are {there / 2**30:,.1f}; {remedy}",
                file=config.path,
                key=key,
            )


def _count(spec: NetworkSpec) -> tuple[int, int, int]:
    """Return how many weights the backbone and the heads have, and how many activations an image leaves behind."""
    kept: list[int] = []

    def keep(module: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> None:
        takes_memory = not (isinstance(module, nn.Identity) or getattr(module, "inplace", False))
        if isinstance(output, Tensor) and takes_memory:
            kept.append(output.numel())

    with torch.device("meta"):
        network = spec.build()
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(keep)
    try:
        complexity(network, spec.image_shape)
    except (NotImplementedError, RuntimeError):
        kept.clear()  # it looks at values, which there are none of; trying it out is left to who comes next
    sizes = [sum(part.numel() for part in module.parameters()) for module in (network, network.ordered_heads)]
    return sizes[0] - sizes[1], sizes[1], sum(kept)


def _device_memory(name: str) -> int:
    """Return the bytes of the device that trains, as far as this process may use them."""
    device = resolve_device(name)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_limit()
