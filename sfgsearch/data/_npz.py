"""Images and targets in one npz file, described by the study file."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from sfgsearch._memory import format_bytes
from sfgsearch._registry import data_sets
from sfgsearch.data._files import bad_rows, check_memory
from sfgsearch.data._partition import Division, assemble
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._targets import as_float32, encode
from sfgsearch.data._task_tables import MissingValues, Number, TaskTable, Values, read_task_tables
from sfgsearch.errors import DataError

Layout = Literal["NHW", "NHWC", "NCHW", "NDHW", "NDHWC", "NCDHW"]
_USUAL: dict[int, Layout] = {3: "NHW", 4: "NHWC"}
_COLOURS = (1, 3, 4)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@data_sets.register("npz")
def npz(
    seed: int,
    *,
    path: str | Path,
    tasks: dict[str, dict[str, Any]],
    images: str = "images",
    layout: Layout | None = None,
    image_scale: float | None = None,
    missing: tuple[str | Number, ...] = (),
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    groups: str | None = None,
    split: str | None = None,
) -> MultiTaskData:
    """Read images and targets from one npz file, such as ``numpy.savez`` writes.

    An image may lack the target of a task: NaN and the texts that are missing in :func:`folder` are missing targets.
    ``numpy.savez`` drops the mask of a masked array without a word: save it as an array of its own and name that in
    the task's ``missing``.

    Images that are equal byte for byte stay in one split. A split by shares has about the same shares of every class.

    Args:
        seed: Fixes the split by shares.
        path: The file.
        tasks: By name, a table as in :func:`folder`, in which ``key`` is the array with the targets. ``missing``,
            ``ignore`` and ``invalid`` list further values of missing targets, or name an array that is true where a
            target is missing, one value per image or per target.
        images: The array with the images.
        layout: Its axes: N images, C channels, D, H, W space. Without it three axes are ``"NHW"``, and four
            ``"NHWC"`` if only the last can be channels: 1, 3 or 4 of them.
        image_scale: Divisor of images; none if None, but 255 for bytes.
        missing: Further values of missing targets in all tasks.
        shares: Of training, validation and test.
        groups: Array whose equal values stay in one split, such as patients.
        split: Array that holds ``"train"``, ``"validation"`` or ``"test"`` for every image, instead of shares.

    Returns:
        Images of shape (C, *space) and the tasks.

    Raises:
        DataError: If the file cannot be read, an array is missing, or shapes or values are not what they should be.
    """
    tables = read_task_tables(tasks, missing, arrays=True)
    keys = [table.key for table in tables] + [table.missing_key for table in tables if table.missing_key]
    keys += [key for key in (groups, split) if key]
    arrays = _read_arrays(Path(path), list(dict.fromkeys([images, *keys])))
    pictures = _channels_first(arrays[images], images, layout)
    for key in keys:
        if len(np.atleast_1d(arrays[key])) != len(pictures):
            raise DataError(f"{path}: {key!r} has the shape {arrays[key].shape} for {len(pictures)} images")
    for table in tables:
        wanted, found = pictures.shape[:1] + pictures.shape[2:] * table.is_dense, arrays[table.key].shape
        if found != wanted:
            raise DataError(
                f"tasks.{table.name}: {table.key!r} has the shape {found}; a {table.type} needs {wanted} here"
            )
    rows = [f"row {index}" for index in range(len(pictures))]
    for column in (groups, split):
        if column:
            _check_column(arrays[column], column, rows)
    encoded = [encode(table, _values(table, arrays), rows) for table in tables]
    return assemble(
        _as_images(pictures, image_scale, rows),
        encoded,
        Division(seed, shares, *(_decode(arrays[column]) if column else None for column in (groups, split))),
        rows,
        _notes(pictures, images, image_scale),
    )


def _channels_first(images: NDArray[Any], key: str, layout: Layout | None) -> NDArray[Any]:
    """Return images in the shape (N, C, *space)."""
    axes = layout or _USUAL.get(images.ndim)
    described = f"the images {key!r} have the shape {images.shape}"
    if axes is None or len(axes) != images.ndim:
        wanted = f"layout {layout!r} has {len(layout)} axes" if layout else "set layout, such as 'NCDHW'"
        raise DataError(f"{described}; {wanted}")
    if layout is None and images.ndim == 4 and (images.shape[3] not in _COLOURS or images.shape[1] in _COLOURS):
        raise DataError(f"{described}, which can be read in more than one way; set layout to 'NCHW', 'NHWC' or 'NDHW'")
    if images.dtype.kind not in "buif":
        raise DataError(f"the images {key!r} are {images.dtype}; numbers are wanted")
    if 0 in images.shape:
        raise DataError(f"{described}, without a pixel")
    return np.moveaxis(images, axes.index("C"), 1) if "C" in axes else images[:, None]


def _check_column(values: NDArray[Any], key: str, rows: Sequence[str]) -> None:
    if values.ndim != 1:
        raise DataError(f"{key!r} has the shape {values.shape}; one value per image is wanted")
    problems = [
        f"{rows[index]} (nothing in {key!r})"
        for index in np.flatnonzero(MissingValues().find(_decode(values))).tolist()
    ]
    if problems:
        raise bad_rows(problems, "fill in what is missing or leave the rows out")


def _values(table: TaskTable, arrays: dict[str, NDArray[Any]]) -> Values:
    """Return the targets of a task and where they are missing."""
    array = _decode(arrays[table.key])
    missing = table.missing.find(array)
    if table.missing_key:
        marked = arrays[table.missing_key]
        key = f"tasks.{table.name}.{table.missing_option}: the array {table.missing_key!r}"
        if marked.shape not in (array.shape, array.shape[:1]):
            raise DataError(f"{key} has the shape {marked.shape}; {array.shape} or {array.shape[:1]} is wanted")
        if marked.dtype.kind not in "bui" or not np.isin(marked, (0, 1)).all():
            raise DataError(f"{key} must be true where a target is missing and else false")
        missing |= marked.astype(bool).reshape(marked.shape + (1,) * (array.ndim - marked.ndim))
    return Values(array, missing)


def _decode(values: NDArray[Any]) -> NDArray[Any]:
    """Return text that is stored as bytes as text."""
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values


def _as_images(pictures: NDArray[Any], scale: float | None, rows: Sequence[str]) -> torch.Tensor:
    if scale is not None and not scale > 0:
        raise DataError(f"image_scale must be above 0, got {scale}")
    if pictures.dtype == np.uint8 and scale is None:
        return torch.from_numpy(np.ascontiguousarray(pictures))
    numbers, broken = as_float32(pictures, 1.0 if scale is None else scale)
    if broken:
        problems = [f"{rows[index]} (a pixel {reason})" for index, reason in broken.items()]
        raise bad_rows(problems, "correct the images or leave them out")
    return torch.from_numpy(numbers)


def _notes(pictures: NDArray[Any], key: str, scale: float | None) -> list[str]:
    """Return a sentence on the range of images that nobody scaled, unless it is 0 to 1 for networks."""
    low, high = pictures.min(), pictures.max()
    if scale is None and pictures.dtype == np.uint8 and high == 1:
        return [f"the images {key!r} are bytes up to 1 and are divided by 255: set image_scale = 1 if 1 is white"]
    if scale is not None or pictures.dtype == np.uint8 or (low >= 0 and high <= 1):
        return []
    return [f"the images {key!r} range from {low:g} to {high:g}; networks expect about 0 to 1: set image_scale"]


def _read_arrays(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an npz file, once its directory, their headers and the memory there is agree."""
    if not path.exists():
        raise DataError(f"path: there is no file {path}")
    if not path.is_file() or not zipfile.is_zipfile(path):
        kind = "npz" if path.is_file() else "regular"
        raise DataError(f"path: {path} is no {kind} file; write one with numpy.savez")
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
    """Raise a ValueError unless a file of ``size`` bytes is an array of numbers or text, and as large as it claims."""
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
