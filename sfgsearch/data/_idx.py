"""The idx format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfgsearch.errors import DataError

_UNSIGNED_BYTES = 8


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzip-compressed idx file of unsigned bytes.

    Such a file holds two zero bytes, the code of its type, its number of dimensions, each size as a big-endian
    32-bit number, and the values in row-major order.

    Args:
        path: The file.
        dimensions: How many it must have: 3 for images, 1 for labels.

    Returns:
        The values, in the shape that the file states.

    Raises:
        DataError: If the file cannot be read, or is not what it should be.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path} ({reason}); get the file anew") from error
    start = 4 * (1 + dimensions)
    magic = bytes([0, 0, _UNSIGNED_BYTES, dimensions])
    if len(content) < start or content[:4] != magic:
        raise DataError(
            f"{path} is no idx file of unsigned bytes in {dimensions} dimensions: it begins with "
            f"{content[:4].hex(' ') or 'nothing'} instead of {magic.hex(' ')}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    values = np.frombuffer(content, dtype=np.uint8, offset=start)
    expected = int(np.prod(shape, dtype=object))
    if len(values) != expected:
        raise DataError(f"{path} states the shape {shape} and holds {len(values)} values instead of {expected}")
    return values.reshape(shape)
