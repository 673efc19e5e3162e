"""Volumes from NIfTI files, whatever their headers say, and with voxels of another size."""

from __future__ import annotations

import gzip
import io
import logging
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from sfgsearch.data._files import check_memory
from sfgsearch.data._interpolation import interpolate_present
from sfgsearch.errors import DataError

SUFFIXES = (".nii.gz", ".nii")
Spacing = tuple[float, float, float]
"""Sides of a voxel in millimetres: left to right, back to front, bottom to top."""

_HEADER_SIZE = 540  # of NIfTI-2, the longer one
_DIMENSIONS, _MOST_DIMENSIONS = 3, 7
_LARGEST_DEFLATION = 1032  # to one: deflate cannot pack zeros more densely
_LONGEST_REASON = 100


class UnusableError(Exception):
    """A file, and the subject that it belongs to, cannot be used; the message says why."""


def read_volume(path: Path, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a volume in RAS order: left to right, back to front, bottom to top.

    No more is read, and no more memory is asked for, than the size of the file makes plausible.

    Args:
        path: The file, a regular one.
        dtype: Floating-point type of the values.

    Returns:
        Values of shape (X, Y, Z), and the affine from voxels to millimetres.

    Raises:
        UnusableError: If the file cannot be read, or its header cannot be true of it or takes more than memory.
        DataError: If nibabel is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise DataError("volumes are read with nibabel: pip install 'sfgsearch[volumes]'") from error
    with _reasons(path, nibabel):
        image = _load(path, nibabel)
        if not np.isfinite(image.affine).all() or not abs(np.linalg.det(image.affine)) > 0:
            raise UnusableError(f"{path.name} says not where its voxels lie: its affine has no inverse")
        image = nibabel.as_closest_canonical(image)  # type: ignore[no-untyped-call]
        volume = np.ascontiguousarray(image.get_fdata(dtype=dtype, caching="unchanged"))
    return volume.reshape(volume.shape[:_DIMENSIONS]), image.affine


@contextmanager
def _reasons(path: Path, nibabel: Any) -> Iterator[None]:
    """Turn exceptions of reading into a reason, and keep remarks about damage from standard error."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except (
        *(OSError, EOFError, ValueError, TypeError, ArithmeticError, MemoryError, np.linalg.LinAlgError, zlib.error),
        LookupError,  # a code that nibabel does not know
        nibabel.filebasedimages.ImageFileError,
        nibabel.orientations.OrientationError,
        nibabel.spatialimages.HeaderDataError,
    ) as error:
        reason = " ".join(str(error).replace(str(path.parent), "").split())[:_LONGEST_REASON]
        raise UnusableError(f"{path.name} cannot be read ({reason or type(error).__name__})") from error
    finally:
        logger.setLevel(level)


def _load(path: Path, nibabel: Any) -> Any:
    """Return the image of a file that holds exactly what its header says."""
    packed = path.name.endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        start = file.read(_HEADER_SIZE)
        sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
        kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
        kind = next((kind for kind in kinds if kind.header_class.sizeof_hdr in sizes), None)
        if kind is None or len(start) < kind.header_class.sizeof_hdr:
            raise ValueError("it is no NIfTI file")
        try:
            end = _end_of_data(path.name, kind.header_class, start[: kind.header_class.sizeof_hdr])
        except DataError as error:
            raise UnusableError(str(error)) from error
        if end > path.stat().st_size * (_LARGEST_DEFLATION if packed else 1):
            raise UnusableError(f"{path.name} is cut off: its header speaks of {end:,} bytes")
        content = start + file.read(max(end + 1 - len(start), 0))
    if len(content) != end:
        more = "is cut off: it has fewer" if len(content) < end else "has more"
        raise UnusableError(f"{path.name} {more} than the {end:,} bytes that its header speaks of")
    return kind.from_bytes(content)


def _end_of_data(name: str, header_class: Any, start: bytes) -> int:
    """Return the size that a file must have by its header, once it is plain that the header describes one volume."""
    header = header_class.from_fileobj(io.BytesIO(start), check=False)
    number, *sides = (int(side) for side in header["dim"])
    shape = tuple(sides[:number])
    if not _DIMENSIONS <= number <= _MOST_DIMENSIONS or any(side != 1 for side in shape[_DIMENSIONS:]):
        raise UnusableError(f"{name} has shape {shape}, not three dimensions")
    if min(shape) < 1:
        raise UnusableError(f"{name} has shape {shape}, with a side below 1")
    kind = header.get_data_dtype()
    if kind.kind == "c":
        raise UnusableError(f"{name} has complex values; save their magnitude")
    if kind.kind not in "buif":
        raise UnusableError(f"{name} has other values than one number for each voxel")
    if 8 * kind.itemsize != header["bitpix"]:
        raise UnusableError(f"{name} has a header that speaks of {kind} and of {header['bitpix']} bits a voxel")
    voxels = math.prod(shape)
    check_memory(voxels * max(kind.itemsize, 8), f"{name} of shape {shape}", "correct its header")
    offset = float(header["vox_offset"])
    if not offset >= len(start):
        raise UnusableError(f"{name} has a header that puts the data at byte {offset:g}, within itself")
    return int(offset) + voxels * int(kind.itemsize)


def voxel_size(affine: NDArray[np.float64]) -> Spacing:
    """Return the sides of a voxel."""
    right, front, top = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return right, front, top


def resample(volume: NDArray[Any], affine: NDArray[np.float64], spacing: Spacing) -> NDArray[Any]:
    """Resample a volume to voxels of a size, between the same outer voxels, with MONAI.

    Args:
        volume: Shape (X, Y, Z). Floating point is interpolated linearly, and missing (NaN) where a missing voxel has a
            weight; whole numbers are those of the nearest voxel.
        affine: From voxels to millimetres.
        spacing: Sides of the new voxels.

    Returns:
        The new volume, of the same type.

    Raises:
        DataError: If it would be larger than memory, or MONAI is not installed.
    """
    ratios = [old / new for old, new in zip(voxel_size(affine), spacing, strict=True)]
    needed = int(volume.size * math.prod(ratios) * np.dtype(np.float64).itemsize)
    check_memory(needed, f"a volume with voxels of {spacing} mm", "raise spacing")
    try:
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.spatial.array import Spacing as Spacer
    except ImportError as error:
        raise DataError("volumes are resampled with MONAI: pip install 'sfgsearch[volumes]'") from error
    quantities = np.issubdtype(volume.dtype, np.floating)
    mode = "bilinear" if quantities else "nearest"
    spacer = Spacer(pixdim=spacing, mode=mode, padding_mode="border", dtype=np.float64)

    def interpolate(values: Tensor) -> Tensor:
        resampled: Any = spacer(MetaTensor(values, affine=torch.from_numpy(affine)))
        return cast(Tensor, resampled.as_tensor())

    values = torch.from_numpy(volume.astype(np.float64))[None]
    resampled = interpolate_present(values, interpolate) if quantities else interpolate(values).round()
    return resampled[0].numpy().astype(volume.dtype)
