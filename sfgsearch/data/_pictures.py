"""Decoding of many picture files at once: images, and maps with a target for every pixel of an image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from sfgsearch.data._files import check_memory
from sfgsearch.data._task_tables import TaskTable, Values

Colours = Literal["rgb", "grey"]
Size = tuple[int, int]
"""Height and width in pixels."""

_MODES = {"rgb": "RGB", "grey": "L"}
_MORE_THAN_BYTES = ("I", "F")
_NAMED = 3
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BURST = "MPO"
_MOSTLY = 0.5
"""Share of valid pixels, by weight, from which an interpolated pixel is valid."""
_BYTES_OF_CLASSES, _BYTES_OF_QUANTITIES = 1 + 1 + 2, 4 + 1 + 4
"""The most that a pixel takes while maps are read: its number as it is in most files, whether it is missing, and its
target."""

Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures.

    Args:
        pixels: Bytes of shape (N, C, height, width); zero where a picture could not be decoded or has another size.
        sizes: By index, the size of the upright picture in its file.
        broken: By index, why a picture could not be decoded.
    """

    pixels: NDArray[np.uint8]
    sizes: dict[int, Size]
    broken: dict[int, str]


def read_pictures(files: Sequence[Path], size: Size | None, colours: Colours = "rgb") -> Pictures:
    """Decode pictures into one array, upright as their EXIF orientation says.

    Args:
        files: JPEG, PNG or whatever else Pillow reads.
        size: Every picture's size once resized (bilinear; the aspect is not kept); that of the first picture that can
            be decoded if None, and no picture is resized.
        colours: Three channels or one.

    Raises:
        DataError: If memory cannot hold all pictures.
    """
    mode = _MODES[colours]
    channels = Image.getmodebands(mode)
    shape = size or _first_size(files)
    check_memory(len(files) * channels * shape[0] * shape[1], f"all {len(files)} pictures", "set size to less")
    pixels = np.zeros((len(files), channels, *shape), dtype=np.uint8)

    def decode(index: int) -> Size:
        with open_upright(files[index]) as image:
            converted = _as_bytes(image, mode)
            found = (image.height, image.width)
        if size is not None or found == shape:
            resized = converted.resize(shape[::-1], Image.Resampling.BILINEAR)
            pixels[index] = np.asarray(resized).reshape(*shape, -1).transpose(2, 0, 1)
        return found

    sizes, broken = decode_all(decode, range(len(files)))
    return Pictures(pixels, sizes, broken)


def _first_size(files: Sequence[Path]) -> Size:
    """Return the size of the first picture that can be decoded."""

    def measure(index: int) -> Size:
        with open_upright(files[index]) as image:
            return image.height, image.width

    found = (sizes[index] for index in range(len(files)) if (sizes := decode_all(measure, [index])[0]))
    return next(found, (1, 1))


def decode_all(decode: Callable[[int], Decoded], indices: Sequence[int]) -> tuple[dict[int, Decoded], dict[int, str]]:
    """Decode the files of indices in threads: Pillow decodes without Python's lock.

    Returns:
        By index, the decoded files, and why a file could not be decoded.
    """
    decoded: dict[int, Decoded] = {}
    broken: dict[int, str] = {}

    def attempt(index: int) -> None:
        try:
            decoded[index] = decode(index)
        except Exception as error:  # malformed files make Pillow's decoders raise errors of any kind
            broken[index] = unreadable(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # about metadata that are not read here, from Pillow
        list(pool.map(attempt, indices))
    return {index: decoded[index] for index in indices if index in decoded}, dict(sorted(broken.items()))


@contextmanager
def open_upright(file: Path) -> Iterator[Image.Image]:
    """Open a picture and turn it as its EXIF orientation says; raise a ValueError if the file holds several."""
    with file.open("rb") as opened, Image.open(opened) as image:  # by name it maps TIFF files, and turns them wrongly
        if getattr(image, "is_animated", False) and image.format != _BURST:
            raise ValueError("holds several pictures; save the one that is meant")
        image.load()  # first, for it turns TIFF files and takes their tag away
        turn = None
        with suppress(Exception):  # metadata that cannot be parsed say nothing; Pillow raises errors of many kinds
            turn = _TURNS.get(int(image.getexif().get(ExifTags.Base.Orientation) or 0))
        yield image if turn is None else image.transpose(turn)


def _as_bytes(image: Image.Image, mode: str) -> Image.Image:
    """Convert a picture to bytes of one channel or three, transparency left out; refuse pixels above 255."""
    if image.mode.startswith(_MORE_THAN_BYTES):
        raise ValueError(f"has more than 8 bits a channel (mode {image.mode}); save it with 8")
    if "transparency" in image.info:  # a palette's is lost with a warning unless it becomes a channel first
        image = image.convert("RGBA")
    return image.convert(mode)


def unreadable(error: Exception) -> str:
    """Return in a few words why a file could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read_maps(
    table: TaskTable, files: Mapping[int, Path], sizes: Mapping[int, Size], number: int, size: Size
) -> tuple[Values, dict[int, str]]:
    """Decode the pictures of a dense task, upright as their EXIF orientation says.

    Args:
        table: The task's description.
        files: By row; rows without a file have no target.
        sizes: By row, the size that its map must have, which is the picture's.
        number: The number of rows.
        size: The size to which maps are resized: classes to the nearest pixel; quantities bilinearly between valid
            pixels only, and valid where these have half of the weight at least.

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
        # Of each side the pixels that hold the centres of those of the new one, as Pillow does.
        nearest = [(2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(values.shape, size, strict=True)]
        return values[np.ix_(*nearest)]

    maps, broken = decode_all(decode, list(files))
    kinds = {one.dtype for one in maps.values()} or {np.dtype(np.uint8 if table.has_classes else np.float32)}
    array = np.zeros((number, *size), dtype=np.result_type(*kinds))
    missing = np.ones(array.shape, dtype=bool)
    while maps:
        row, one = maps.popitem()
        array[row] = one
        missing[row] = table.missing_pixels.find(one) if table.has_classes else np.isnan(one)
    return Values(array, missing), broken


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


def describe_skipped(total: int, reasons: Mapping[str, str]) -> str:
    """Return a sentence on files that were skipped, of ``total``: their number, and the first names with reasons."""
    named = ", ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED])
    more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"skipped {len(reasons)} of {total} files: {named}{more}"
