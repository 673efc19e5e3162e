"""Reading subjects with MRI, CT and organ labels from NIfTI files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfgsearch.data._files import locate
from sfgsearch.data._identity import array_digest
from sfgsearch.data._nifti import SUFFIXES, Spacing, UnusableError, read_volume, resample, voxel_size
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING

FILES = ("mr", "ct", "labels")

_FURTHEST = 0.1  # of a voxel, by which grids may differ
_SPACING_TOLERANCE = 0.01
_MOST_LABELS = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Subject:
    """The volumes of one subject on one grid, left to right, back to front, bottom to top (RAS).

    Args:
        name: Name of the subject's folder.
        mr: MRI in arbitrary units, float32.
        ct: CT in Hounsfield units, float32, NaN where missing; None if the subject has none.
        labels: Label of every voxel, int32, :data:`sfgsearch.tasks.MISSING` where missing; None if there are none.
        spacing: Sides of a voxel in millimetres.
        own_spacing: The same before volumes were resampled.
        digests: Of these three volumes before they were resampled, by file; empty without one.
    """

    name: str
    mr: NDArray[np.float32]
    ct: NDArray[np.float32] | None
    labels: NDArray[np.int32] | None
    spacing: Spacing
    own_spacing: Spacing
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Reading:
    """Options of reading the volumes of subjects.

    Args:
        ignore: Labels that stand for a missing one.
        invalid: Values of the CT that stand for a missing one; NaN is missing by itself.
        spacing: Sides of a voxel in millimetres that volumes are resampled to; None leaves them as they are.

    Raises:
        DataError: If a value is out of range.
    """

    ignore: tuple[int, ...] = ()
    invalid: tuple[float, ...] = ()
    spacing: Spacing | None = None

    def __post_init__(self) -> None:
        if self.spacing is not None and not all(0 < side < float("inf") for side in self.spacing):
            raise DataError(f"spacing must be three numbers of millimetres above 0, got {list(self.spacing)}")


def read_subjects(folder: Path, reading: Reading | None = None) -> tuple[list[Subject], tuple[str, ...]]:
    """Read all subjects of a folder: one folder each, with ``mr``, ``ct`` and ``labels`` as ``.nii.gz`` or ``.nii``.

    A subject may lack its CT or its labels, but not both.

    Returns:
        The subjects in the order of their names, and notes on those that could not be used or lack a file, if any.

    Raises:
        DataError: If the folder is not there or has no folders in it, the spacings of subjects differ, or nibabel is
            not installed.
    """
    if not folder.is_dir():
        raise DataError(
            f"path: there is no folder {folder}; set it to one with a folder per subject, or name that with --data"
        )
    try:
        own_folders = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise DataError(f"path: cannot list {folder} ({error.strerror})") from error
    if not own_folders:
        wanted = ", ".join(f"{file}{SUFFIXES[0]}" for file in FILES)
        raise DataError(f"path: {folder} has no folders in it; it needs one per subject, with {wanted}")
    subjects: list[Subject] = []
    skipped: list[str] = []
    for own_folder in own_folders:
        name = "".join(character if character.isprintable() else "?" for character in own_folder.name)
        try:
            subjects.append(_read_subject(own_folder, name, reading or Reading()))
        except UnusableError as error:
            skipped.append(f"{name}: {error}")
        except OSError as error:  # such as a folder that may not be entered
            skipped.append(f"{name}: {error.strerror}")
    _check_spacings(subjects)
    notes = [f"skipped {len(skipped)} of {len(own_folders)} subjects ({'; '.join(skipped)})"] if skipped else []
    lacking = {file: sum(getattr(subject, file) is None for subject in subjects) for file in FILES[1:]}
    if counts := [f"{number} without {file}" for file, number in lacking.items() if number]:
        notes.append(f"of {len(subjects)} subjects {' and '.join(counts)}, which that task leaves out")
    return subjects, tuple(notes)


def _check_spacings(subjects: Sequence[Subject]) -> None:
    """Check that voxels of all subjects have the size of the first one's."""
    for subject in subjects[1:]:
        first = subjects[0]
        if not _is_close(subject.spacing, first.spacing):
            raise DataError(
                f"subject {subject.name!r} has voxels of {_times(subject.spacing)} mm, {first.name!r} of "
                f"{_times(first.spacing)} mm; resample them to one size, or set "
                f"spacing = [{', '.join(f'{side:.4g}' for side in first.spacing)}]"
            )


def _is_close(one: Spacing, other: Spacing) -> bool:
    return np.allclose(one, other, rtol=_SPACING_TOLERANCE, atol=0)


def _times(spacing: Spacing) -> str:
    return " x ".join(f"{side:.4g}" for side in spacing)


def _read_subject(folder: Path, name: str, reading: Reading) -> Subject:
    paths = {file: _find(folder, file) for file in FILES}
    if paths["mr"] is None or not (paths["ct"] or paths["labels"]):
        lacking = " and no ".join(f"{file}{SUFFIXES[0]}" for file in FILES if paths[file] is None)
        raise UnusableError(f"no {lacking}")
    mr, affine = read_volume(paths["mr"])
    if not np.isfinite(mr).all():
        raise UnusableError(f"{paths['mr'].name} has values that are not finite")
    if mr.min() == mr.max():
        raise UnusableError("mr has the same value everywhere")
    ct, labels = (_read_on_grid(paths[file], file, mr.shape, affine) for file in FILES[1:])
    quantity = None if ct is None else _as_quantity(ct, reading.invalid)
    classes = None if labels is None else _as_labels(labels, reading.ignore, name)
    if quantity is None and classes is None:
        raise UnusableError("all of ct and labels is missing")
    volumes = zip(FILES, (mr, quantity, classes), strict=True)
    digests = {file: "" if volume is None else array_digest(volume) for file, volume in volumes}
    size = voxel_size(affine)
    if reading.spacing is None or _is_close(size, reading.spacing):
        return Subject(name, mr, quantity, classes, size, size, digests)
    mr = resample(mr, affine, reading.spacing)
    quantity, classes = (one if one is None else resample(one, affine, reading.spacing) for one in (quantity, classes))
    return Subject(name, mr, quantity, classes, reading.spacing, size, digests)


def _find(folder: Path, file: str) -> Path | None:
    """Return the one regular file of a volume within the folder of subjects, None if there is none."""
    found = [path for suffix in SUFFIXES if os.path.lexists(path := folder / f"{file}{suffix}")]
    if not found:
        return None
    if len(found) > 1:
        raise UnusableError(f"both {found[0].name} and {found[1].name}; remove one")
    (path,) = found
    try:
        locate(folder.parent.resolve(), f"{folder.name}/{path.name}")
    except ValueError as error:
        raise UnusableError(f"{path.name} {error}") from error
    except OSError as error:
        raise UnusableError(f"{path.name} cannot be read ({error.strerror})") from error
    return path


def _read_on_grid(
    path: Path | None, file: str, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> NDArray[Any] | None:
    """Return the values of a volume that must lie where the MRI lies; None without a file."""
    if path is None:
        return None
    volume, own = read_volume(path, np.float64 if file == "labels" else np.float32)
    if volume.shape != shape:
        raise UnusableError(f"shapes differ: mr {shape}, {file} {volume.shape}")
    distance = _furthest(affine, own, shape)
    if not distance <= _FURTHEST:
        raise UnusableError(
            f"{file} and mr lie at different places in space, up to {distance:.3g} voxels apart; resample them to one "
            "grid"
        )
    return volume


def _furthest(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return by how many voxels of the first two affines place a corner of a volume apart."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in shape))])
    return float(np.linalg.norm(corners @ np.linalg.solve(one, one - other).T, axis=1).max())


def _as_quantity(ct: NDArray[np.float32], invalid: tuple[float, ...]) -> NDArray[np.float32] | None:
    """Return a CT with NaN where it is missing; None if it is missing everywhere."""
    if np.isinf(ct).any():
        raise UnusableError("ct has values that are infinite")
    ct[np.isin(ct, np.array(invalid, dtype=ct.dtype))] = np.nan
    present = ct[~np.isnan(ct)]
    if present.size and present.min() == present.max():
        raise UnusableError("ct has the same value everywhere")
    return ct if present.size else None


def _as_labels(labels: NDArray[np.float64], ignore: tuple[int, ...], name: str) -> NDArray[np.int32] | None:
    """Return labels as whole numbers, MISSING where they are missing; None if they are missing everywhere."""
    missing = np.isnan(labels) | np.isin(labels, np.array(ignore, dtype=labels.dtype))
    labels[missing] = MISSING
    present = labels[~missing]
    if not np.array_equal(present, present.round()) or np.abs(present).max(initial=0) > _MOST_LABELS:
        raise UnusableError(f"labels are not whole numbers from 0 to {_MOST_LABELS}")
    lowest = present.min(initial=0)
    if lowest < 0:
        raise DataError(
            f"subject {name!r} has the label {lowest:.0f}, below 0; set ignore = [{lowest:.0f}] if it stands for a "
            "missing one, or correct it"
        )
    return labels.astype(np.int32) if present.size else None
