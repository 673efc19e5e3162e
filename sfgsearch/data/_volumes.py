"""Reading subjects with MRI, CT and organ labels from NIfTI files."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfgsearch.data._digests import array_digest
from sfgsearch.errors import DataError

FILES = ("mr", "ct", "labels")
MOST_CLASSES = 256

_SUFFIXES = (".nii.gz", ".nii")
_LONGEST_REASON = 100


@dataclass(frozen=True)
class Subject:
    """The volumes of one subject on one grid, left to right, back to front, bottom to top (RAS).

    Args:
        name: Name of the subject's folder.
        mr: MRI in arbitrary units, float32.
        ct: CT in Hounsfield units, float32.
        labels: Organ of every voxel, uint8; 0 is the background.
        digests: Of these three as their files have them, by file.
    """

    name: str
    mr: NDArray[np.float32]
    ct: NDArray[np.float32]
    labels: NDArray[np.uint8]
    digests: Mapping[str, str]


class _UnusableError(Exception):
    """Why a subject is skipped."""


def read_subjects(folder: Path) -> tuple[list[Subject], tuple[str, ...]]:
    """Read all subjects of a folder: one folder each, with ``mr``, ``ct`` and ``labels`` as ``.nii.gz`` or ``.nii``.

    Args:
        folder: The folder.

    Returns:
        The subjects in the order of their names, and a note on those that could not be used, if any.

    Raises:
        DataError: If the folder is not there or has no folders in it, or nibabel is not installed.
    """
    if not folder.is_dir():
        raise DataError(
            f"path: there is no folder {folder}; set it to one with a folder per subject, or name that with --data"
        )
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    if not places:
        raise DataError(f"path: {folder} has no folders in it; it needs one per subject, with {_wanted()}")
    subjects: list[Subject] = []
    reasons: dict[str, str] = {}
    for place in places:
        try:
            subjects.append(_read_subject(place))
        except _UnusableError as error:
            reasons[place.name] = str(error)
    return subjects, (_describe(len(places), reasons),) if reasons else ()


def _describe(number: int, reasons: Mapping[str, str]) -> str:
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return f"skipped {len(reasons)} of {number} subjects ({listed})"


def _wanted() -> str:
    return ", ".join(f"{file}{_SUFFIXES[0]}" for file in FILES)


def _read_subject(place: Path) -> Subject:
    volumes, affines = zip(*(_read(place, file) for file in FILES), strict=True)
    shapes = {file: volume.shape for file, volume in zip(FILES, volumes, strict=True)}
    if len(set(shapes.values())) > 1:
        raise _UnusableError("shapes differ: " + ", ".join(f"{file} {shape}" for file, shape in shapes.items()))
    for file, affine in zip(FILES[1:], affines[1:], strict=True):
        if _furthest(affines[0], affine, volumes[0].shape) > _voxel(affines[0]):
            raise _UnusableError(f"{file} and mr lie at different places in space; resample them to one grid")
    mr, ct, labels = volumes
    if mr.min() == mr.max():
        raise _UnusableError("mr has the same value everywhere")
    if not np.array_equal(labels, labels.round()) or labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise _UnusableError(f"labels are not whole numbers from 0 to {MOST_CLASSES - 1}")
    digests = {file: array_digest(volume) for file, volume in zip(FILES, volumes, strict=True)}
    return Subject(place.name, mr, ct, labels.astype(np.uint8), digests)


def _read(place: Path, file: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a volume in RAS order and its affine.

    Raises:
        _UnusableError: If it is missing, unreadable, no volume, or has values that are not finite.
    """
    nibabel = _nibabel()
    path = next((path for suffix in _SUFFIXES if (path := place / f"{file}{suffix}").is_file()), None)
    if path is None:
        raise _UnusableError(f"no {file}{_SUFFIXES[0]}")
    unreadable = (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        ArithmeticError,
        zlib.error,
        nibabel.filebasedimages.ImageFileError,
        nibabel.orientations.OrientationError,
        nibabel.spatialimages.HeaderDataError,
    )
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volume: NDArray[np.float32] = np.ascontiguousarray(image.get_fdata(dtype=np.float32))
    except unreadable as error:
        reason = " ".join(str(error).replace(str(place), "").split())[:_LONGEST_REASON]
        raise _UnusableError(f"{path.name} cannot be read ({reason or type(error).__name__})") from error
    if volume.ndim == 4 and volume.shape[3] == 1:  # a time axis of one moment, as some converters write it
        volume = volume[..., 0]
    if volume.ndim != 3 or 0 in volume.shape:
        raise _UnusableError(f"{path.name} has shape {volume.shape}, not three dimensions")
    if not np.isfinite(volume).all():
        raise _UnusableError(f"{path.name} has values that are not finite")
    return volume, image.affine


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise DataError("volumes are read with nibabel: pip install 'sfgsearch[volumes]'") from error
    return nibabel


def _furthest(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return by how many millimetres two affines place a corner of a volume apart."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in shape))])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


def _voxel(affine: NDArray[np.float64]) -> float:
    """Return the shortest side of a voxel in millimetres."""
    return float(np.linalg.norm(affine[:3, :3], axis=0).min())
