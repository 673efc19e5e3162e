"""What single filters send into the streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch.allocation import group_names
from sfgsearch.nn import GroupedNetwork, mapped_layers, stream_activations

_EACH = 2
_LAYERS = 3

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class FilterMaps:
    """A filter and what it sends into the streams.

    Args:
        layer: Its channel space.
        filter: Its number in the channel space, from zero.
        entropy: Of its group probabilities, in nats.
        probs: Its group probabilities: tasks in order, then shared.
        maps: Shape (images, T+1, height, width).
    """

    layer: str
    filter: int
    entropy: float
    probs: tuple[float, ...]
    maps: Maps


@dataclass(frozen=True)
class ActivationMaps:
    """Activation maps of filters that are the most and the least sure of their group.

    Args:
        groups: The tasks in order, then shared.
        images: Shape (images, height, width), or (images, height, width, 3) for colours; values from 0 to 1.
        low: Filters of low entropy, layer by layer.
        high: Filters of high entropy, layer by layer.
    """

    groups: tuple[str, ...]
    images: Maps
    low: tuple[FilterMaps, ...]
    high: tuple[FilterMaps, ...]


def activation_maps(network: GroupedNetwork, images: Tensor, layers: Sequence[str] | None = None) -> ActivationMaps:
    """Return activation maps of two low-entropy and two high-entropy filters of some channel spaces.

    The two of low entropy prefer different groups where there are such. Filters that are silent on all the images
    come last.

    Args:
        network: A trained network of stochastic filter groups.
        images: A few images, shape (B, C, *space); of volumes the middle slice is shown.
        layers: Names of the channel spaces; the first, middle and last of those that have maps if None.

    Raises:
        BackboneError: If the network has no maps of these names.
    """
    chosen = _ends_and_middle(mapped_layers(network)) if layers is None else layers
    streams = stream_activations(network, images, chosen)
    probabilities = network.probabilities()
    entropies = network.by_space(network.groups.entropy().detach().cpu())
    low: list[FilterMaps] = []
    high: list[FilterMaps] = []
    for name, maps in streams.items():
        probs, entropy = probabilities[name].numpy(), entropies[name].numpy()
        slices = _middle(maps).numpy()
        committed, undecided = _choose(entropy, probs.argmax(1), slices)
        for indices, filters in ((committed, low), (undecided, high)):
            filters.extend(
                FilterMaps(name, one, float(entropy[one]), tuple(map(float, probs[one])), slices[:, :, one])
                for one in indices
            )
    return ActivationMaps(group_names(network.tasks), _as_pictures(images), tuple(low), tuple(high))


def _ends_and_middle(names: list[str]) -> list[str]:
    indices = np.linspace(0, len(names) - 1, min(_LAYERS, len(names))).round().astype(int)
    return [names[index] for index in indices]


def _middle(volumes: Tensor) -> Tensor:
    """Return (B, ..., height, width) of (B, a, b, [depth,] height, width), where ... are a and b."""
    return volumes[:, :, :, volumes.shape[3] // 2] if volumes.ndim == 6 else volumes


def _choose(entropy: NDArray[np.floating], preferred: NDArray[np.integer], maps: Maps) -> tuple[list[int], list[int]]:
    """Return filters of low and of high entropy.

    Args:
        entropy: Shape (K,).
        preferred: The most probable group, shape (K,).
        maps: Shape (B, T+1, K, height, width).
    """
    is_silent = ~maps.any(axis=(0, 1, 3, 4))
    order = [int(index) for index in np.lexsort((entropy, is_silent))]
    low = list(_of_different_groups(order, preferred))[: min(_EACH, max(len(order) // 2, 1))]
    backwards = [int(index) for index in np.lexsort((-entropy, is_silent))]
    return low, [index for index in backwards if index not in low][:_EACH]


def _of_different_groups(order: Sequence[int], preferred: NDArray[np.integer]) -> Iterator[int]:
    """Yield filters, the first of every group before all others."""
    leaders = {int(preferred[index]): index for index in reversed(order)}
    yield from (index for index in order if index in leaders.values())
    yield from (index for index in order if index not in leaders.values())


def _as_pictures(images: Tensor) -> Maps:
    """Return the middle slices of images in [0, 1]: in colours where there are three channels, else the first one."""
    slices = images[:, :, images.shape[2] // 2] if images.ndim == 5 else images
    pixels = slices.detach().float().cpu().numpy()
    pixels = np.moveaxis(pixels, 1, -1) if pixels.shape[1] == 3 else pixels[:, 0]
    inner = tuple(range(1, pixels.ndim))
    low, high = pixels.min(axis=inner, keepdims=True), pixels.max(axis=inner, keepdims=True)
    scaled: Maps = (pixels - low) / np.maximum(high - low, 1e-12)
    return scaled
