"""Reading arrays from npz files that may be damaged or lie about their size."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from sfgsearch._memory import format_bytes
from sfgsearch.data._files import check_memory
from sfgsearch.errors import DataError

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an npz file, which may not hold Python objects.

    Nothing is read before headers, the archive's directory and the memory there is agree.

    Args:
        path: The file.
        keys: The arrays' names.

    Raises:
        DataError: If the file or an array is missing, damaged, no array, or larger than memory.
    """
    if not path.exists():
        raise DataError(f"path: there is no file {path}")
    if not path.is_file():
        raise DataError(f"path: {path} is no regular file; write one with numpy.savez")
    if not zipfile.is_zipfile(path):
        raise DataError(f"path: {path} is no npz file; write one with numpy.savez")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory makes zipfile raise errors of many kinds
        raise DataError(f"path: {path} is damaged ({error}); write it anew with numpy.savez") from error
    with archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        missing = [key for key in keys if key not in members]
        if missing:
            raise DataError(f"{path} has no array {missing[0]!r}; it has {', '.join(map(repr, members))}")
        wanted = {key: archive.getinfo(members[key]) for key in keys}
        total = sum(member.file_size for member in wanted.values())
        check_memory(total, f"what {path} holds", "leave images out, or write smaller ones")
        arrays = {}
        for key, member in wanted.items():
            try:
                with archive.open(member) as file:
                    _check_header(file, member.file_size)
                with archive.open(member) as file:
                    arrays[key] = npy.read_array(file, allow_pickle=False)
            except Exception as error:  # as above
                reason = str(error) or type(error).__name__
                raise DataError(f"{path}: cannot read {key!r} ({reason}); save it as numbers or text") from error
    return arrays


def _check_header(file: IO[bytes], size: int) -> None:
    """Check that an array is as large as what is stored of it.

    Args:
        file: The array's file, from its beginning.
        size: Its bytes.

    Raises:
        ValueError: If it is not, or the file is no array of numbers or text.
    """
    try:
        read_header = _HEADERS[npy.read_magic(file)]
    except (ValueError, KeyError) as error:
        raise ValueError("it is no array of numbers or text") from error
    shape, _, kind = read_header(file)
    if kind.hasobject:
        raise ValueError("it holds Python objects")
    claimed, held = math.prod(shape) * kind.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or claimed != held:
        raise ValueError(
            f"its header claims the shape {shape} of {kind}, {format_bytes(claimed)}, but it holds {format_bytes(held)}"
        )
