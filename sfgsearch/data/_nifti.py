"""Volumes from NIfTI files, whatever their headers say."""

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
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sfgsearch.data._files import check_memory
from sfgsearch.errors import DataError

SUFFIXES = (".nii.gz", ".nii")

_HEADER_SIZE = 540  # of NIfTI-2, the longer one
_DIMENSIONS, _MOST_DIMENSIONS = 3, 7
_LARGEST_DEFLATION = 1032  # to one: deflate cannot pack zeros more densely
_LONGEST_REASON = 100


class UnusableError(Exception):
    """Why a file, and the subject that it belongs to, cannot be used."""


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
    nibabel = _nibabel()
    with _reasons(path, nibabel):
        image = _load(path, nibabel)
        if not np.isfinite(image.affine).all() or not abs(np.linalg.det(image.affine)) > 0:
            raise UnusableError(f"{path.name} says not where its voxels lie: its affine has no inverse")
        image = nibabel.as_closest_canonical(image)
        volume = np.ascontiguousarray(image.get_fdata(dtype=dtype, caching="unchanged"))
    return volume.reshape(volume.shape[:_DIMENSIONS]), image.affine


@contextmanager
def _reasons(path: Path, nibabel: Any) -> Iterator[None]:
    """Turn what reading raises into a reason, and keep remarks about damage from standard error."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except (
        OSError,
        EOFError,
        LookupError,  # a code that nibabel does not know
        ValueError,
        TypeError,
        ArithmeticError,
        MemoryError,
        np.linalg.LinAlgError,
        zlib.error,
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
        kind = _image_class(start, nibabel)
        if kind is None or len(start) < kind.header_class.sizeof_hdr:
            raise ValueError("it is no NIfTI file")
        try:
            end = _end_of_data(path.name, kind.header_class, start)
        except DataError as error:
            raise UnusableError(str(error)) from error
        most = path.stat().st_size * (_LARGEST_DEFLATION if packed else 1)
        if end > most:
            raise UnusableError(f"{path.name} is cut off: its header speaks of {end:,} bytes")
        content = start + file.read(max(end + 1 - len(start), 0))
    if len(content) != end:
        more = "is cut off: it has fewer" if len(content) < end else "has more"
        raise UnusableError(f"{path.name} {more} than the {end:,} bytes that its header speaks of")
    return kind.from_bytes(content)


def _image_class(start: bytes, nibabel: Any) -> Any:
    """Return the class of images that begin like this, of either byte order; None if none does."""
    kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    return next((kind for kind in kinds if kind.header_class.sizeof_hdr in sizes), None)


def _end_of_data(name: str, header_class: Any, start: bytes) -> int:
    """Return how long a file must be by its header, once it is plain that the header describes one volume.

    Args:
        name: Name of the file.
        header_class: Reads its header.
        start: Its first bytes.
    """
    header = header_class.from_fileobj(io.BytesIO(start[: header_class.sizeof_hdr]), check=False)
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
    if not offset >= len(start[: header_class.sizeof_hdr]):
        raise UnusableError(f"{name} has a header that puts the data at byte {offset:g}, within itself")
    return int(offset) + voxels * int(kind.itemsize)


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise DataError("volumes are read with nibabel: pip install 'sfgsearch[volumes]'") from error
    return nibabel
