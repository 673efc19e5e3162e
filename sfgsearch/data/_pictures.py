"""Decoding many picture files at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Colours = Literal["rgb", "grey"]
_MODES = {"rgb": "RGB", "grey": "L"}
_MORE_THAN_BYTES = ("I", "F")
_NAMED = 3


def read_pictures(
    files: Sequence[Path], size: tuple[int, int], colours: Colours = "rgb"
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode pictures into one array, in threads: Pillow decodes without Python's lock.

    Args:
        files: JPEG, PNG or whatever else Pillow reads.
        size: Height and width in pixels that every picture is resized to (bilinear; the aspect is not kept).
        colours: Three channels or one.

    Returns:
        Bytes of shape (N, C, height, width), and for the files that could not be decoded their index and the reason;
        their pictures are zero.
    """
    pictures = np.zeros((len(files), 3 if colours == "rgb" else 1, *size), dtype=np.uint8)

    def decode(index: int) -> str | None:
        try:
            with Image.open(files[index]) as image:
                resized = _as_bytes(image, colours).resize(size[::-1], Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return unreadable(error)
        pictures[index] = np.asarray(resized).reshape(*size, -1).transpose(2, 0, 1)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(decode, range(len(files)))
        return pictures, {index: reason for index, reason in enumerate(reasons) if reason is not None}


def _as_bytes(image: Image.Image, colours: Colours) -> Image.Image:
    """Convert a picture to bytes of one channel or three, transparency left out.

    Raises:
        ValueError: If its pixels are greater numbers, which Pillow would cut at 255.
    """
    if image.mode.startswith(_MORE_THAN_BYTES):
        raise ValueError(f"has more than 8 bits a channel (mode {image.mode}); save it with 8")
    if "transparency" in image.info:  # a palette's is lost with a warning unless it becomes a channel first
        image = image.convert("RGBA")
    return image.convert(_MODES[colours])


def unreadable(error: Exception) -> str:
    """Return in a few words why Pillow could not read a file."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    return getattr(error, "strerror", None) or str(error)


def describe_skipped(total: int, reasons: Mapping[str, str]) -> str:
    """Return a sentence that counts the files that were skipped and names the first few.

    Args:
        total: How many files there are.
        reasons: Why a file was skipped, by its name.
    """
    named = ", ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED])
    more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"skipped {len(reasons)} of {total} files: {named}{more}"
