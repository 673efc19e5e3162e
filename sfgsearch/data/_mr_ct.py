"""CT and organs from MRI, from the user's own volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch._registry import data_sets
from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._organs import Organs
from sfgsearch.data._partition import describe_copies, number
from sfgsearch.data._patches import RandomPatches, WholeImages
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._volumes import FILES, Reading, Subject, read_subjects
from sfgsearch.data._window import SlidingWindow
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING, DenseRegression, Segmentation

_HELD_OUT_SHARE, _FEWEST, _DRAWS = 0.2, 3, 1000
_HOUNSFIELD = 1000.0
_LOWEST_MEASURED, _PADDING_SHARE = -1024.0, 0.001  # of twelve bits, where air is -1000; of the voxels of a volume


@data_sets.register("mr_ct")
def mr_ct(
    seed: int,
    *,
    path: Path,
    mode: Literal["slices", "patches"] = "slices",
    patch: int | tuple[int, ...] = 64,
    patches_per_volume: int = 8,
    overlap: float = 0.25,
    classes: tuple[str, ...] | dict[str, str] = (),
    ignore: tuple[int, ...] = (),
    invalid: tuple[float, ...] = (),
    spacing: tuple[float, float, float] | None = None,
    ct_range: tuple[float, float] = (-1000.0, 2000.0),
    ct_loss: Literal["squared", "l1"] = "squared",
    organ_loss: Literal["cross_entropy", "dice", "both"] = "both",
) -> MultiTaskData:
    """From MRI: what would a CT show, and which organ lies where?

    Reads one folder per subject with ``mr.nii.gz``, ``ct.nii.gz`` (Hounsfield units) and ``labels.nii.gz``, all on one
    grid to a tenth of a voxel; ``.nii`` will do. Volumes are turned to (depth, height, width): bottom to top, front to
    back, left to right. Each MRI gets the mean 0 and standard deviation 1 over its foreground, the voxels above its
    own mean. A subject may lack its CT or its labels: then that task has no targets there. Subjects that cannot be
    used (a file broken, no MRI, neither of the others, grids that differ) are skipped; those with the same MRI stay in
    one split. Notes of the data set list these with reasons, count what is lacking, and name organs that are not in
    training.

    Args:
        seed: Fixes the split by subject: 60 % training, 20 % validation, 20 % test, at least one each, and in each
            one with a CT and one with labels.
        path: The folder of subjects; in a study file relative to it.
        mode: ``"slices"`` trains on one random crop per axial slice and epoch and evaluates whole slices;
            ``"patches"`` trains on random patches of volumes and evaluates whole volumes. Both slide a window over
            what is evaluated.
        patch: Voxels a side of a crop or patch, or one number for each side: (height, width) or (depth, height, width).
        patches_per_volume: Patches of every volume in an epoch, at positions drawn anew; for ``"patches"`` only.
        overlap: Share of a window that the next one covers too.
        classes: Names of the labels from 0 on, or a table from labels to names, such as ``{ 0 = "background",
            41 = "prostate" }``, for labels with gaps; the lowest is the background. If empty, labels are classes
            without names, which must be all the numbers up to the greatest, at most 64.
        ignore: Labels that stand for a missing one, such as 255; NaN does by itself.
        invalid: Values of the CT that stand for a missing one, such as -2000 outside of the scanner's field of view;
            NaN does by itself.
        spacing: Sides of a voxel in mm, from left to right, back to front and bottom to top, to which all volumes are
            resampled, labels by the nearest voxel. Without it all subjects must have the voxel size of the first one.
        ct_range: Lowest and highest Hounsfield units; the CT is clipped to them, for training and for metrics.
        ct_loss: Loss of the task ``ct``.
        organ_loss: Loss of the task ``organs``.

    Returns:
        Patches of shape (1, *patch), and the tasks ``ct`` (targets in 1,000 HU) and ``organs``.

    Raises:
        DataError: If the folder is wrong or has fewer than three usable subjects, their voxel sizes differ, a label
            has no class, or an option is out of range.
    """
    size = _patch_size(patch, 2 if mode == "slices" else 3)
    if patches_per_volume < 1 or not ct_range[0] < ct_range[1]:
        raise DataError(
            "patches_per_volume must be at least 1 and ct_range go from low to high, "
            f"got {patches_per_volume} and {list(ct_range)}"
        )
    window = SlidingWindow(size, overlap)
    subjects, notes = read_subjects(path, Reading(ignore, invalid, spacing))
    if len(subjects) < _FEWEST:
        because = f"; {notes[0]}" if notes else ""
        raise DataError(f"{path} has {len(subjects)} usable subjects, too few for three splits{because}")
    padding_notes = _check_range(subjects, ct_range)
    copies = number([subject.digests["mr"] for subject in subjects])
    notes += tuple(describe_copies(copies, [subject.name for subject in subjects]))
    parts = _share_out(subjects, copies, seed)
    organs = Organs.of(classes, _labels(subjects), ignore)
    if untrained := organs.untrained(_labels(parts[0])):
        notes += (f"no training subject has the label of {', '.join(map(repr, untrained))}",)
    train, validation, test = (
        (*_prepare(part, organs, mode, ct_range), _source(part, organs, mode, ct_range)) for part in parts
    )
    tasks = (
        DenseRegression("ct", scale=_HOUNSFIELD, unit="HU", span=ct_range[1] - ct_range[0], loss=ct_loss),
        Segmentation("organs", num_classes=len(organs.labels), classes=organs.names, loss=organ_loss),
    )
    return MultiTaskData(
        tasks,
        RandomPatches(*train[:2], size, 1 if mode == "slices" else patches_per_volume, seed, train[2]),
        WholeImages(*validation),
        WholeImages(*test),
        notes=(*notes, *padding_notes),
        window=window,
    )


def _patch_size(patch: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    size = (patch,) * dimensions if isinstance(patch, int) else tuple(patch)
    if len(size) != dimensions or min(size) < 1:
        raise DataError(f"patch must be one or {dimensions} numbers of at least 1, got {patch}")
    return size


def _check_range(subjects: Sequence[Subject], ct_range: tuple[float, float]) -> tuple[str, ...]:
    """Check that something of every CT is left by clipping.

    Returns:
        A note on values below that of air which stand for voxels that no scanner measured, if there are any.
    """
    padded = []
    for subject in subjects:
        if subject.ct is None:
            continue
        least, greatest = float(np.nanmin(subject.ct)), float(np.nanmax(subject.ct))
        if least >= ct_range[1] or greatest <= ct_range[0]:
            raise DataError(
                f"subject {subject.name!r} has a CT from {least:g} to {greatest:g} HU, all outside of ct_range = "
                f"{list(ct_range)}; correct one of them"
            )
        if least < _LOWEST_MEASURED and np.mean(subject.ct == least) > _PADDING_SHARE:
            padded.append(least)
    if not padded:
        return ()
    values = ", ".join(f"{value:g}" for value in sorted(set(padded)))
    return (
        f"the CT of {len(padded)} subjects has many voxels of {values} HU, less than air; set invalid = [{values}] if "
        "these were not measured",
    )


def _labels(subjects: Sequence[Subject]) -> dict[str, NDArray[np.int32]]:
    return {subject.name: subject.labels for subject in subjects if subject.labels is not None}


def _share_out(subjects: Sequence[Subject], copies: NDArray[np.int64], seed: int) -> list[list[Subject]]:
    """Return the subjects of training, validation and test, drawn until each has some with a CT and with labels.

    Those with equal numbers in ``copies``, from 0 on, stay in one split.

    Raises:
        DataError: If there are too few of either.
    """
    distinct = int(copies.max()) + 1
    held_out = max(1, round(_HELD_OUT_SHARE * distinct))
    random = np.random.default_rng(seed)
    for _ in range(_DRAWS):
        drawn = np.split(random.permutation(distinct), [distinct - 2 * held_out, distinct - held_out])
        parts = [[subjects[int(index)] for one in part for index in np.flatnonzero(copies == one)] for part in drawn]
        if all(any(getattr(subject, file) is not None for subject in part) for part in parts for file in FILES):
            return parts
    numbers = (f"{sum(getattr(one, file) is not None for one in subjects)} have {file}" for file in FILES[1:])
    raise DataError(
        f"of {len(subjects)} subjects {' and '.join(numbers)}; training, validation and test need some of both, and "
        "subjects with the same mr stay together"
    )


def _prepare(
    subjects: Sequence[Subject], organs: Organs, mode: str, ct_range: tuple[float, float]
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    """Return the images (1, *space) and the targets of subjects, by slice or by volume."""
    images: list[Tensor] = []
    targets: dict[str, list[Tensor]] = {"ct": [], "organs": []}
    for subject in subjects:
        mr = _to_depth_height_width(_normalise(subject.mr))
        ct, labels = torch.tensor(torch.nan).expand(mr.shape), torch.tensor(MISSING, dtype=torch.int16).expand(mr.shape)
        if subject.ct is not None:
            ct = _to_depth_height_width(subject.ct.clip(*ct_range) / np.float32(_HOUNSFIELD))
        if subject.labels is not None:
            labels = _to_depth_height_width(organs.indices(subject.labels))
        for values, volume in zip(
            (images, *targets.values()), (mr.unsqueeze(int(mode == "slices")), ct, labels), strict=True
        ):
            values += volume.unbind() if mode == "slices" else [volume]
    return images, targets


def _source(subjects: Sequence[Subject], organs: Organs, mode: str, ct_range: tuple[float, float]) -> SplitIdentity:
    """Return the identity of volumes as their files have them; what is computed from them may differ by processor."""
    mr, ct, labels = (np.array([subject.digests[file] for subject in subjects]) for file in FILES)
    spacings = [(subject.own_spacing, subject.spacing) for subject in subjects]
    spacing = np.array(spacings, dtype=np.float32)  # headers are no more precise, and float64 norms may round otherwise
    number = len(subjects) if mode == "patches" else sum(subject.mr.shape[2] for subject in subjects)
    targets = {"ct": [ct, spacing, np.array(ct_range)], "organs": [labels, spacing, np.array(organs.labels)]}
    return SplitIdentity.of(number, [mr, spacing], targets)


def _to_depth_height_width(volume: NDArray[Any]) -> Tensor:
    """Turn a volume (X, Y, Z) in RAS order, so that slices stand as people look at them."""
    return torch.from_numpy(np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0)))


def _normalise(mr: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the foreground, voxels above the volume's mean, the mean 0 and the standard deviation 1."""
    foreground = mr[mr > mr.mean(dtype=np.float64)].astype(np.float64)
    deviation = foreground.std() or 1.0  # of a foreground with a single value
    normalised: NDArray[np.float32] = ((mr - foreground.mean()) / deviation).astype(np.float32)
    return normalised
