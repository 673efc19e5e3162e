"""What single filters send into the streams, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import trial_title
from sfgsearch.visualization.data._activations import ActivationMaps, FilterMaps
from sfgsearch.visualization.data._trial_review import TrialReview
from sfgsearch.visualization.matplotlib._sheet import GREY, WIDTH, Pixels, Sheet

_LEFT, _GAP, _APART, _LARGEST, _SMALLEST, _LOWEST = 176, 4, 14, 64, 36, 28
_HEADER, _HEADING = 18, 24
_SHADES = 48  # few, which makes small files
_NOTE = "What a filter sends into each stream, its gates being their probabilities. Every row has its own scale."

RGB = NDArray[np.uint8]


def plot_activations(maps: ActivationMaps, *, trial: TrialReview | None = None) -> Figure:
    """Plot activation maps of the least and most undecided filters under the stream of every task, and the shared one.

    Args:
        maps: What :func:`sfgsearch.visualization.activation_maps` returns.
        trial: The trial, for the title.

    Returns:
        A matplotlib figure with a row per filter, and for every image a column for itself and one per stream: as many
        images as there is room for, and of more than 13 tasks the first ones.
    """
    maps, shown = _fitting(maps)
    images, streams = len(maps.images), len(shown)
    tall, wide = maps.images.shape[1:3]
    room = (WIDTH - _LEFT - 12 - (images - 1) * _APART) / (images * (1 + streams)) - _GAP
    scale = min(room, _LARGEST) / max(tall, wide)
    size = (max(round(scale * wide), 6), max(round(scale * tall), 6))
    starts = [_LEFT + image * ((1 + streams) * (size[0] + _GAP) + _APART) for image in range(images)]
    colours = group_colours([maps.groups[stream] for stream in shown[:-1]])
    pitch = max(size[1], _LOWEST) + _GAP
    height = _HEADER + 2 * _HEADING + (len(maps.low) + len(maps.high)) * pitch + 8
    title = trial_title(trial, "activation maps of the least and most undecided filters")
    left_out = len(maps.groups) - streams
    note = f"{_NOTE} {left_out} tasks are left out." if left_out else _NOTE
    sheet = Sheet(title, height, colours, note=note)
    canvas = np.full((height, WIDTH, 3), 255, np.uint8)
    shades = (colormaps["magma"](np.linspace(0, 1, _SHADES))[:, :3] * 255).astype(np.uint8)
    top = _HEADER
    for heading, filters in (("Lowest entropy", maps.low), ("Highest entropy", maps.high)):
        sheet.text(12, top + _HEADING / 2, heading, fontsize=8.5, weight="bold")
        top += _HEADING
        for one in filters:
            middle = top + size[1] / 2
            sheet.text(12, middle - 7, f"{shortened(one.layer, 15)}, filter {one.filter}")
            sheet.text(12, middle + 7, _describe(one, maps.groups), fontsize=7, color=GREY)
            _paste(canvas, maps, one, shades, starts, top, size)
            top += pitch
    for start in starts:
        for column, (name, colour) in enumerate([("image", GREY), *colours.items()]):
            x = start + column * (size[0] + _GAP) + size[0] / 2
            sheet.text(x, 8, shortened(name, max((size[0] + _GAP) // 6, 4)), ha="center", fontsize=7.5, color=colour)
    sheet.figure.add_artist(Pixels(canvas))
    return sheet.figure


def _fitting(maps: ActivationMaps) -> tuple[ActivationMaps, list[int]]:
    """Return the maps that there is room for, and the streams that they are of."""
    room, column = WIDTH - _LEFT - 12, _SMALLEST + _GAP
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
    canvas: RGB,
    maps: ActivationMaps,
    one: FilterMaps,
    shades: RGB,
    starts: Sequence[int],
    top: int,
    size: tuple[int, int],
) -> None:
    """Put the row of a filter into the canvas."""
    low, high = min(float(one.maps.min()), 0.0), max(float(one.maps.max()), 1e-12)
    for image, start in enumerate(starts):
        tiles = [_picture(maps.images[image], size)]
        strengths = (_resized((plane - low) / (high - low), size) for plane in one.maps[image])
        tiles += [shades[(strength * (_SHADES - 1)).round().astype(int)] for strength in strengths]
        for column, tile in enumerate(tiles):
            left = start + column * (size[0] + _GAP)
            canvas[top : top + size[1], left : left + size[0]] = tile


def _picture(image: NDArray[Any], size: tuple[int, int]) -> RGB:
    channels = [image] * 3 if image.ndim == 2 else list(np.moveaxis(image, -1, 0))
    return np.stack([(255 * _resized(channel, size)).astype(np.uint8) for channel in channels], axis=-1)


def _resized(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a plane of values between 0 and 1 in another size; pixels of small ones stay visible."""
    shrinks = plane.shape[1] > size[0]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    resized = Image.fromarray(plane.astype(np.float32)).resize(size, how)
    return np.asarray(resized).clip(0, 1)
