"""Picture files with a target for every pixel of another picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sfgsearch.data._files import check_memory
from sfgsearch.data._missing_values import Values
from sfgsearch.data._pictures import Size, decode_all, open_upright
from sfgsearch.data._task_tables import TaskTable

_MOSTLY = 0.5
"""Share of valid pixels, by weight, from which an interpolated pixel is valid."""

_BYTES_OF_CLASSES, _BYTES_OF_QUANTITIES = 1 + 1 + 2, 4 + 1 + 4
"""What a pixel takes at most while maps are read: its number as it is in most files, whether it is missing, and its
target."""


def read_maps(
    table: TaskTable, files: Mapping[int, Path], sizes: Mapping[int, Size], number: int, size: Size
) -> tuple[Values, dict[int, str]]:
    """Decode the pictures of a dense task, upright as their EXIF orientation says.

    Args:
        table: The task's description.
        files: By row; rows without a file have no target.
        sizes: By row, the size that its map must have, which is the picture's.
        number: How many rows there are.
        size: What maps are resized to: classes to the nearest pixel; quantities bilinearly between valid pixels only,
            and valid where these have half of the weight at least.

    Returns:
        Values of shape (N, height, width), and by row why its map could not be used.

    Raises:
        DataError: If memory cannot hold all maps.
    """
    taken = number * size[0] * size[1] * (_BYTES_OF_CLASSES if table.has_classes else _BYTES_OF_QUANTITIES)
    check_memory(taken, f"task {table.name!r} of all {number} pictures", "set size to less")

    def decode(row: int) -> NDArray[Any]:
        with open_upright(files[row]) as image:
            values, mode = np.asarray(image), image.mode
        if values.ndim != 2:
            raise ValueError(f"has {values.shape[2]} channels instead of one")
        if values.shape != sizes[row]:
            raise ValueError("has {1}x{0} pixels, its picture {3}x{2}".format(*values.shape, *sizes[row]))
        if not table.has_classes and mode == "P":
            raise ValueError("holds places in a palette; save it as greyscale")
        if not table.has_classes:
            return _interpolate(values.astype(np.float32), table.missing_pixels.find(values), size)
        if values.dtype.kind not in "bui":
            raise ValueError("holds no whole numbers")
        return values[np.ix_(*(_nearest(*sides) for sides in zip(values.shape, size, strict=True)))]

    maps, broken = decode_all(decode, list(files))
    if not maps:
        nothing = np.zeros((number, *size), dtype=np.uint8 if table.has_classes else np.float32)
        return Values(nothing, np.ones(nothing.shape, dtype=bool)), broken
    array = np.zeros((number, *size), dtype=np.result_type(*{one.dtype for one in maps.values()}))
    missing = np.ones(array.shape, dtype=bool)
    while maps:
        row, one = maps.popitem()
        array[row] = one
        missing[row] = table.missing_pixels.find(one) if table.has_classes else np.isnan(one)
    return Values(array, missing), broken


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return the pixel of the old side whose square holds the centre of each pixel of the new one, as Pillow does."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _interpolate(values: NDArray[np.float32], invalid: NDArray[np.bool_], size: Size) -> NDArray[np.float32]:
    """Resize quantities; those that are invalid, or come mostly from invalid ones, are NaN."""
    smooth = _resize(np.where(invalid, np.float32(0), values), size)
    if not invalid.any():
        return smooth
    weight = _resize((~invalid).astype(np.float32), size)
    valid = weight >= _MOSTLY
    return np.where(valid, smooth / np.where(valid, weight, 1), np.float32(np.nan))


def _resize(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR))
