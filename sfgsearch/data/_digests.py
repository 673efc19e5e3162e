"""Digests of arrays of any size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256  # 0.6 s per gigabyte where processors have instructions for it, 2 s elsewhere
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Array: TypeAlias = "Tensor | NDArray[Any]"

_DIGITS = 16
_PART_BYTES = 2**24
_WORD = np.dtype(np.uint64)
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_WEIGHTS = (2 * np.arange(2**16, dtype=_WORD) + np.uint64(1)) * _MIXER


def text_digest(text: str) -> str:
    """Return the digest of a text: 16 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()[:_DIGITS]


def array_digest(array: Array) -> str:
    """Return the digest of the values, shape and type of an array: 16 hexadecimal digits."""
    return digest_and_pool([array])[0]


def digest_and_pool(arrays: Iterable[Array]) -> tuple[str, int]:
    """Return the digest of arrays, and a checksum of their rows that is the same in any order."""
    digest, pool = sha256(), 0
    for values in arrays:
        array = np.atleast_1d(values if isinstance(values, np.ndarray) else values.numpy(force=True))
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for part, checksum in _parts(array):
            digest.update(part)
            pool += checksum
    return digest.hexdigest()[:_DIGITS], pool % 2**64


def row_hashes(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of the bytes of every row; rows that differ may, if seldom, have the same."""
    return np.concatenate([np.empty(0, _WORD), *_by_parts(array, _hash)])


def _parts(array: NDArray[Any]) -> Iterable[tuple[bytes, int]]:
    """Return the digest and checksum of every few megabytes of rows."""
    return _by_parts(array, lambda rows: (sha256(rows.data).digest(), int(_hash(rows).sum(dtype=_WORD))))


def _by_parts(array: NDArray[Any], measure: Callable[[NDArray[np.uint8]], T]) -> Iterable[T]:
    """Measure every few megabytes of rows, as bytes, in threads: hashing frees the GIL."""
    width = array[:1].nbytes
    step = max(_PART_BYTES // max(width, 1), 1)

    def take(start: int) -> T:
        part = np.ascontiguousarray(array[start : start + step])
        return measure(part.reshape(len(part), -1).view(np.uint8))

    starts = range(0, len(array) if width else 0, step)
    if len(starts) < 2:
        return map(take, starts)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(take, starts))


def _hash(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a hash of each row: weighted words, added up and mixed."""
    number, width = rows.shape
    block = min(max(width // _WORD.itemsize, 1), len(_WEIGHTS))
    whole = width - width % (block * _WORD.itemsize)
    rest = np.pad(rows[:, whole:], ((0, 0), (0, (whole - width) % _WORD.itemsize))).view(_WORD)
    sums = np.einsum("ikj,j->i", rows[:, :whole].view(_WORD).reshape(number, -1, block), _WEIGHTS[:block])
    sums += np.einsum("ij,j->i", rest, _WEIGHTS[: rest.shape[1]])
    sums ^= sums >> np.uint64(29)
    sums *= _MIXER
    sums ^= sums >> np.uint64(32)
    hashes: NDArray[np.uint64] = sums
    return hashes
