"""Whether a network can be trained in the memory that there is, found out before any of it is allocated."""

from __future__ import annotations

import warnings
from typing import NamedTuple

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

_FULL_WIDTH_PER_TASK = ("single_task", "cross_stitch", "nddr", "learning_to_branch")


class NetworkSize(NamedTuple):
    """How many numbers a plain network has.

    Args:
        backbone: Weights of the backbone.
        heads: Weights of all heads.
        activations: Activations that an image leaves behind; 0 if the network cannot be run without values.
    """

    backbone: int
    heads: int
    activations: int


def check_memory(config: Config, spec: NetworkSpec, images: int) -> None:
    """Check that the plain network, its optimiser and a batch of activations fit into memory.

    What is counted is the least that training holds at once; that it fits does not promise that all else does. Of a
    backbone that cannot be built without memory nothing is known.

    Args:
        config: The study file.
        spec: The network.
        images: Those of the training split.

    Raises:
        ConfigError: If it does not fit; it names the key to lower.
    """
    size = network_size(spec)
    if size is None:
        return
    weights, heads, activations = size
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


def network_size(spec: NetworkSpec) -> NetworkSize | None:
    """Count the numbers of a plain network without memory for them, on torch's meta device.

    Args:
        spec: The network.

    Returns:
        None if the backbone cannot be built there, such as one that computes with weights that it reads from a file.
    """
    kept: list[int] = []

    def keep(module: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> None:
        takes_memory = not (isinstance(module, nn.Identity) or getattr(module, "inplace", False))
        if isinstance(output, Tensor) and takes_memory:
            kept.append(output.numel())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of weights that are read from a file and have no effect there
        try:
            with torch.device("meta"):
                network = spec.build()
        except Exception:  # whatever the backbone's own code raises; built in earnest it will tell
            return None
        for module in network.modules():
            if not list(module.children()):
                module.register_forward_hook(keep)
        try:
            complexity(network, spec.image_shape)
        except Exception:  # it looks at values, which there are none of; trying it out is left to who comes next
            kept.clear()
    whole, heads = (sum(part.numel() for part in module.parameters()) for module in (network, network.ordered_heads))
    return NetworkSize(whole - heads, heads, sum(kept))


def _device_memory(name: str) -> int:
    """Return the bytes of the device that trains, as far as this process may use them."""
    device = resolve_device(name)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_limit()
