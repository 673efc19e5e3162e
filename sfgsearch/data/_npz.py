"""Images and targets in one npz file, described by the study file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sfgsearch.data._partition import partition
from sfgsearch.data._registry import data_sets
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._targets import assemble, bad_rows
from sfgsearch.data._task_tables import TaskTable, read_task_tables
from sfgsearch.errors import DataError

Layout = Literal["NHW", "NHWC", "NCHW", "NDHW", "NDHWC", "NCDHW"]
_DAMAGES = (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_USUAL: dict[int, Layout] = {3: "NHW", 4: "NHWC"}


@data_sets.register("npz")
def npz(
    seed: int,
    *,
    path: str | Path,
    tasks: dict[str, dict[str, Any]],
    images: str = "images",
    layout: Layout | None = None,
    image_scale: float = 1.0,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    groups: str | None = None,
    split: str | None = None,
) -> MultiTaskData:
    """Read images and targets from one npz file, such as ``numpy.savez`` writes.

    Args:
        seed: Fixes the split by shares.
        path: The file.
        tasks: By name, a table with ``type``, ``key`` (the array with the targets; the task's name if missing) and
            options of the task. Quantities stand in the file in their unit and are divided by ``scale``. Classes are
            whole numbers or text; without ``num_classes`` the distinct values in ascending order are the classes.
        images: The array with the images.
        layout: Its axes: N images, C channels, D, H, W space. ``"NHW"`` or ``"NHWC"`` if not given.
        image_scale: What images are divided by. Bytes that are divided by nothing come as [0, 1].
        shares: Of training, validation and test.
        groups: Array whose equal values stay in one split, such as patients.
        split: Array that holds ``"train"``, ``"validation"`` or ``"test"`` for every image, instead of shares.

    Returns:
        Images of shape (C, *space) and the tasks.

    Raises:
        DataError: If the file cannot be read, an array is missing, or shapes or values are not what they should be.
    """
    tables = read_task_tables(tasks)
    keys = [images, *(table.key for table in tables), *(key for key in (groups, split) if key)]
    arrays = _read(Path(path), keys)
    pictures = _channels_first(arrays[images], images, layout)
    for key in keys[1:]:
        if len(np.atleast_1d(arrays[key])) != len(pictures):
            raise DataError(f"{path}: {key!r} has the shape {arrays[key].shape} for {len(pictures)} images")
    for table in tables:
        _check_shape(table, arrays[table.key], pictures.shape)
    for column in (groups, split):
        if column and arrays[column].ndim != 1:
            raise DataError(f"{path}: {column!r} has the shape {arrays[column].shape}; one value per image is wanted")
    parts = partition(len(pictures), seed, shares, arrays[groups] if groups else None, arrays[split] if split else None)
    rows = [f"row {index}" for index in range(len(pictures))]
    return assemble(_as_images(pictures, image_scale, rows), tables, arrays, parts, rows)


def _read(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an npz file, which may not hold Python objects."""
    if not path.is_file():
        raise DataError(f"path: there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"path: {path} is no npz file; write one with numpy.savez")
    try:
        opened = np.load(path, allow_pickle=False)
    except _DAMAGES as error:
        raise DataError(f"path: {path} is damaged ({error}); write it anew with numpy.savez") from error
    with opened as file:
        missing = [key for key in keys if key not in file]
        if missing:
            raise DataError(f"{path} has no array {missing[0]!r}; it has {', '.join(map(repr, file.files))}")
        arrays = {}
        for key in keys:
            try:
                arrays[key] = file[key]
            except _DAMAGES as error:
                raise DataError(f"{path}: cannot read {key!r} ({error}); save it as numbers or text") from error
    return arrays


def _channels_first(images: NDArray[Any], key: str, layout: Layout | None) -> NDArray[Any]:
    """Return images in the shape (N, C, *space)."""
    axes = layout or _USUAL.get(images.ndim)
    if axes is None or len(axes) != images.ndim:
        wanted = f"layout {layout!r} has {len(layout)} axes" if layout else "set layout, such as 'NCDHW'"
        raise DataError(f"the images {key!r} have the shape {images.shape}; {wanted}")
    if images.dtype.kind not in "buif":
        raise DataError(f"the images {key!r} are {images.dtype}; numbers are wanted")
    if "C" not in axes:
        return images[:, None]
    return np.moveaxis(images, axes.index("C"), 1)


def _check_shape(table: TaskTable, values: NDArray[Any], images: tuple[int, ...]) -> None:
    wanted = (images[0], *images[2:]) if table.is_dense else images[:1]
    if values.shape != wanted:
        raise DataError(
            f"tasks.{table.name}: {table.key!r} has the shape {values.shape}; a {table.type} needs {wanted} here"
        )


def _as_images(pictures: NDArray[Any], scale: float, rows: Sequence[str]) -> torch.Tensor:
    if not scale > 0:
        raise DataError(f"image_scale must be above 0, got {scale}")
    if pictures.dtype == np.uint8 and scale == 1:
        return torch.from_numpy(np.ascontiguousarray(pictures))
    finite = np.isfinite(pictures).reshape(len(pictures), -1).all(axis=1)
    if not finite.all():
        problems = [f"{rows[index]} (a pixel is no finite number)" for index in np.flatnonzero(~finite).tolist()]
        raise bad_rows(problems, "correct the images or leave them out")
    return torch.from_numpy((pictures / scale).astype(np.float32))
