"""The activations figure: what single filters send into the streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sfgsearch.allocation import group_names
from sfgsearch.nn import GroupedNetwork, mapped_layers, stream_activations
from sfgsearch.visualization._description import GREY, UNIT, Figure, Panel, Picture, Text
from sfgsearch.visualization._layout import PAGE, Rect, shortened
from sfgsearch.visualization._style import group_colours, trial_title
from sfgsearch.visualization._trial_review import TrialReview

_EACH = 2
_LAYERS = 3

_LEFT, _RIGHT, _GAP, _APART = 182, 12, 4, 14
_LARGEST, _SMALLEST, _LOWEST = 70, 36, 28
_HEADER, _HEADING = 18, 24
"""Pixels: beside the maps, between maps and between images; of a map; of a row; above the maps."""

_NOTE = "What a filter sends into each stream, its gates being their probabilities. Every row has its own scale."
_SHADES = np.array(
    [
        *((0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122)),
        *((229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191)),
    ]
)
"""The colours of matplotlib's map ``magma``, from black for nothing."""

_LEVELS = 48
"""Colours that there are, few for small files."""

Maps = NDArray[np.float32]
RGB = NDArray[np.uint8]


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


def activations_figure(maps: ActivationMaps, *, trial: TrialReview | None = None) -> Figure:
    """Plot activation maps of the least and most undecided filters under the stream of every task, and the shared one.

    There is a row per filter, and for every image a column for itself and one per stream: as many images as there is
    room for, and of more than 13 tasks the first ones.

    Args:
        maps: What :func:`sfgsearch.visualization.activation_maps` returns.
        trial: The trial, for the title.
    """
    maps, shown = _fitting(maps)
    left_out, streams = len(maps.groups) - len(shown), len(shown)
    size = _map_size(maps, streams)
    starts = [_LEFT + image * ((1 + streams) * (size[0] + _GAP) + _APART) for image in range(len(maps.images))]
    pitch = max(size[1], _LOWEST) + _GAP
    height = _HEADER + 2 * _HEADING + (len(maps.low) + len(maps.high)) * pitch + 8
    canvas = np.full((height, PAGE.width, 3), 255, np.uint8)
    texts, top = list[Text](), _HEADER
    for heading, filters in (("Lowest entropy", maps.low), ("Highest entropy", maps.high)):
        texts.append(_text(12, top + _HEADING / 2, heading, height, is_bold=True))
        top += _HEADING
        for one in filters:
            middle = top + size[1] / 2
            texts.append(_text(12, middle - 7, f"{shortened(one.layer, 15)}, filter {one.filter}", height))
            texts.append(_text(12, middle + 7, _describe(one, maps.groups), height, size=10, colour=GREY))
            _paste(canvas, maps, one, starts, top, size)
            top += pitch
    names = {"image": GREY, **group_colours([maps.groups[stream] for stream in shown[:-1]])}
    letters = max((size[0] + _GAP) // 6, 4)
    for start in starts:
        for column, (name, colour) in enumerate(names.items()):
            x = start + column * (size[0] + _GAP) + size[0] / 2
            texts.append(_text(x, 8, shortened(name, letters), height, horizontal="center", size=10, colour=colour))
    note = f"{_NOTE} {left_out} tasks are left out." if left_out else _NOTE
    rect = Rect(0, 0, PAGE.width, height)
    title = trial_title(trial, "activation maps of the least and most undecided filters")
    return Figure(title, (Panel(rect, UNIT, UNIT, (Picture(canvas), *texts), frame="none"),), height, note=note)


def _text(x: float, y: float, text: str, height: float, **look: Any) -> Text:
    """Return a text whose middle is so many pixels from the left and from the top of the panel."""
    options: dict[str, Any] = {"horizontal": "left", "is_relative": True} | look
    return Text(x / PAGE.width, 1 - y / height, text, **options)


def _map_size(maps: ActivationMaps, streams: int) -> tuple[int, int]:
    """Return width and height of a map, in pixels."""
    images, (tall, wide) = len(maps.images), maps.images.shape[1:3]
    room = (PAGE.width - _LEFT - _RIGHT - (images - 1) * _APART) / (images * (1 + streams)) - _GAP
    scale = min(room, _LARGEST) / max(tall, wide)
    return max(round(scale * wide), 6), max(round(scale * tall), 6)


def _fitting(maps: ActivationMaps) -> tuple[ActivationMaps, list[int]]:
    """Return the maps that there is room for, and the streams that they are of."""
    room, column = PAGE.width - _LEFT - _RIGHT, _SMALLEST + _GAP
    last = len(maps.groups) - 1
    streams = [*range(min(last, room // column - 2)), last]
    images = max((room + _APART) // ((1 + len(streams)) * column + _APART), 1)

    def cut(filters: tuple[FilterMaps, ...]) -> tuple[FilterMaps, ...]:
        return tuple(replace(one, maps=one.maps[:images, streams]) for one in filters)

    return replace(maps, images=maps.images[:images], low=cut(maps.low), high=cut(maps.high)), streams


def _describe(one: FilterMaps, groups: Sequence[str]) -> str:
    preferred = int(np.argmax(one.probs))
    return f"{one.entropy:.2f} nats, {100 * one.probs[preferred]:.0f} % {shortened(groups[preferred], 12)}"


def _paste(
    canvas: RGB, maps: ActivationMaps, one: FilterMaps, starts: Sequence[int], top: int, size: tuple[int, int]
) -> None:
    """Put the row of a filter into the canvas."""
    low, high = min(float(one.maps.min()), 0.0), max(float(one.maps.max()), 1e-12)
    for image, start in enumerate(starts):
        tiles = [_picture(maps.images[image], size)]
        strengths = (_resized((plane - low) / (high - low), size) for plane in one.maps[image])
        tiles += [_shade(strength) for strength in strengths]
        for column, tile in enumerate(tiles):
            left = start + column * (size[0] + _GAP)
            canvas[top : top + size[1], left : left + size[0]] = tile


def _shade(strength: NDArray[np.float32]) -> RGB:
    """Return values between 0 and 1 in colours."""
    level = (strength * (_LEVELS - 1)).round() / (_LEVELS - 1) * (len(_SHADES) - 1)
    colours = [np.interp(level, range(len(_SHADES)), channel) for channel in _SHADES.T]
    return np.stack(colours, axis=-1).round().astype(np.uint8)


def _picture(image: NDArray[Any], size: tuple[int, int]) -> RGB:
    channels = [image] * 3 if image.ndim == 2 else list(np.moveaxis(image, -1, 0))
    return np.stack([(255 * _resized(channel, size)).astype(np.uint8) for channel in channels], axis=-1)


def _resized(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a plane of values between 0 and 1 in another size; pixels of small ones stay visible."""
    shrinks = plane.shape[1] > size[0]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    resized = Image.fromarray(plane.astype(np.float32)).resize(size, how)
    return np.asarray(resized).clip(0, 1)
