"""Decoding many picture files at once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from sfgsearch.data._files import check_memory

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
        size: What every picture is resized to (bilinear; the aspect is not kept); that of the first picture that can
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

    for index in range(len(files)):
        sizes, _ = decode_all(measure, [index])
        if sizes:
            return sizes[index]
    return 1, 1


def decode_all(decode: Callable[[int], Decoded], indices: Sequence[int]) -> tuple[dict[int, Decoded], dict[int, str]]:
    """Decode files in threads: Pillow decodes without Python's lock.

    Args:
        decode: Decodes the file of an index.
        indices: Of the files.

    Returns:
        By index, what was decoded, and why a file could not be.
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
    """Open a picture and turn it as its EXIF orientation says.

    Raises:
        ValueError: If the file holds several pictures.
    """
    with file.open("rb") as opened, Image.open(opened) as image:  # by name it maps TIFF files, and turns them wrongly
        if getattr(image, "is_animated", False) and image.format != _BURST:
            raise ValueError("holds several pictures; save the one that is meant")
        image.load()  # first, for it turns TIFF files and takes their tag away
        turn = _TURNS.get(_orientation(image))
        yield image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # metadata that cannot be parsed say nothing; Pillow raises errors of many kinds
        return None


def _as_bytes(image: Image.Image, mode: str) -> Image.Image:
    """Convert a picture to bytes of one channel or three, transparency left out.

    Raises:
        ValueError: If its pixels are greater numbers, which Pillow would cut at 255.
    """
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


def describe_skipped(total: int, reasons: Mapping[str, str]) -> str:
    """Return a sentence that counts the files that were skipped and names the first few.

    Args:
        total: How many files there are.
        reasons: Why a file was skipped, by its name.
    """
    named = ", ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED])
    more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"skipped {len(reasons)} of {total} files: {named}{more}"
