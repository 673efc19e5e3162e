"""CT and organs from MRI, from the user's own volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._patches import RandomPatches, WholeImages
from sfgsearch.data._registry import data_sets
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.data._volumes import FILES, Subject, read_subjects
from sfgsearch.data._window import SlidingWindow
from sfgsearch.errors import DataError
from sfgsearch.tasks import DenseRegression, Segmentation

_HELD_OUT_SHARE, _FEWEST = 0.2, 3
_HOUNSFIELD = 1000.0


@data_sets.register("mr_ct")
def mr_ct(
    seed: int,
    *,
    path: Path,
    mode: Literal["slices", "patches"] = "slices",
    patch: int | tuple[int, ...] = 64,
    patches_per_volume: int = 8,
    overlap: float = 0.25,
    classes: tuple[str, ...] = (),
    ct_range: tuple[float, float] = (-1000.0, 2000.0),
    ct_loss: Literal["squared", "l1"] = "squared",
    organ_loss: Literal["cross_entropy", "dice", "both"] = "both",
) -> MultiTaskData:
    """From MRI: what would a CT show, and which organ lies where?

    Reads one folder per subject with ``mr.nii.gz``, ``ct.nii.gz`` (Hounsfield units) and ``labels.nii.gz`` (0 is the
    background), all three on one grid; ``.nii`` will do. Volumes are turned to (depth, height, width): bottom to
    top, front to back, left to right. Each MRI gets the mean 0 and standard deviation 1 over its foreground, the
    voxels above its own mean. Subjects that cannot be used (a file missing, broken or not finite, grids that differ)
    are skipped, and a note of the data set lists them with reasons; another names organs that are not in training.

    Args:
        seed: Fixes the split by subject: 60 % training, 20 % validation, 20 % test, at least one each.
        path: The folder of subjects; in a study file relative to it.
        mode: ``"slices"`` trains on one random crop per axial slice and epoch and evaluates whole slices;
            ``"patches"`` trains on random patches of volumes and evaluates whole volumes. Both slide a window over
            what is evaluated.
        patch: Voxels a side of a crop or patch, or one number for each side: (height, width) or (depth, height, width).
        patches_per_volume: Patches of every volume in an epoch, at positions drawn anew; for ``"patches"`` only.
        overlap: Share of a window that the next one covers too.
        classes: Names of the labels from 0; as many as the greatest label asks for, without names, if empty.
        ct_range: Lowest and highest Hounsfield units; the CT is clipped to them, for training and for metrics.
        ct_loss: Loss of the task ``ct``.
        organ_loss: Loss of the task ``organs``.

    Returns:
        Patches of shape (1, *patch), and the tasks ``ct`` (targets in 1,000 HU) and ``organs``.

    Raises:
        DataError: If the folder is wrong or has fewer than three usable subjects, or an option is out of range.
    """
    size = _patch_size(patch, 2 if mode == "slices" else 3)
    if patches_per_volume < 1 or not ct_range[0] < ct_range[1]:
        raise DataError(
            "patches_per_volume must be at least 1 and ct_range go from low to high, "
            f"got {patches_per_volume} and {list(ct_range)}"
        )
    window = SlidingWindow(size, overlap)
    subjects, notes = read_subjects(path)
    if len(subjects) < _FEWEST:
        because = f"; {notes[0]}" if notes else ""
        raise DataError(f"{path} has {len(subjects)} usable subjects, too few for three splits{because}")
    num_classes = _count_classes(subjects, classes)
    train, validation, test = _share_out(subjects, seed)
    notes += _note_untrained(train, classes or tuple(map(str, range(num_classes))))
    images, targets = _prepare(train, mode, ct_range)
    sources = [_source(part, mode, ct_range) for part in (train, validation, test)]
    tasks = (
        DenseRegression("ct", scale=_HOUNSFIELD, unit="HU", span=ct_range[1] - ct_range[0], loss=ct_loss),
        Segmentation("organs", num_classes=num_classes, classes=classes, loss=organ_loss),
    )
    return MultiTaskData(
        tasks,
        RandomPatches(images, targets, size, 1 if mode == "slices" else patches_per_volume, seed, sources[0]),
        WholeImages(*_prepare(validation, mode, ct_range), sources[1]),
        WholeImages(*_prepare(test, mode, ct_range), sources[2]),
        notes=notes,
        window=window,
    )


def _patch_size(patch: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    size = (patch,) * dimensions if isinstance(patch, int) else tuple(patch)
    if len(size) != dimensions or min(size) < 1:
        raise DataError(f"patch must be one or {dimensions} numbers of at least 1, got {patch}")
    return size


def _count_classes(subjects: Sequence[Subject], classes: tuple[str, ...]) -> int:
    highest = max(int(subject.labels.max()) for subject in subjects)
    if highest == 0:
        raise DataError("all labels are 0, the background; there is nothing to segment")
    if classes and highest >= len(classes):
        culprit = next(subject.name for subject in subjects if subject.labels.max() == highest)
        raise DataError(
            f"classes names {len(classes)} labels from 0 on, but subject {culprit!r} has the label {highest}"
        )
    return len(classes) or highest + 1


def _note_untrained(train: Sequence[Subject], classes: Sequence[str]) -> tuple[str, ...]:
    """Return a note on organs that no training subject has, if any; no network can find them."""
    voxels = sum(np.bincount(subject.labels.ravel(), minlength=len(classes)) for subject in train)
    absent = [repr(name) for name, number in zip(classes[1:], np.asarray(voxels)[1:], strict=True) if not number]
    return (f"no training subject has the label of {', '.join(absent)}",) if absent else ()


def _share_out(subjects: Sequence[Subject], seed: int) -> tuple[list[Subject], list[Subject], list[Subject]]:
    """Return the subjects of training, validation and test."""
    held_out = max(1, round(_HELD_OUT_SHARE * len(subjects)))
    order = np.random.default_rng(seed).permutation(len(subjects))
    parts = np.split(order, [len(order) - 2 * held_out, len(order) - held_out])
    train, validation, test = ([subjects[index] for index in part] for part in parts)
    return train, validation, test


def _prepare(
    subjects: Sequence[Subject], mode: str, ct_range: tuple[float, float]
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    """Return the images (1, *space) and the targets of subjects, by slice or by volume."""
    images: list[Tensor] = []
    targets: dict[str, list[Tensor]] = {"ct": [], "organs": []}
    for subject in subjects:
        mr = _to_depth_height_width(_normalise(subject.mr))
        ct = _to_depth_height_width(subject.ct.clip(*ct_range) / np.float32(_HOUNSFIELD))
        labels = _to_depth_height_width(subject.labels)
        images += [image[None] for image in (mr.unbind() if mode == "slices" else [mr])]
        targets["ct"] += ct.unbind() if mode == "slices" else [ct]
        targets["organs"] += labels.unbind() if mode == "slices" else [labels]
    return images, targets


def _source(subjects: Sequence[Subject], mode: str, ct_range: tuple[float, float]) -> SplitIdentity:
    """Return the identity of volumes as their files have them; what is computed from them may differ by processor."""
    mr, ct, labels = (np.array([subject.digests[file] for subject in subjects]) for file in FILES)
    number = len(subjects) if mode == "patches" else sum(subject.mr.shape[2] for subject in subjects)
    return SplitIdentity.of(number, [mr], {"ct": [ct, np.array(ct_range)], "organs": [labels]})


def _to_depth_height_width(volume: NDArray[Any]) -> Tensor:
    """Turn a volume (X, Y, Z) in RAS order, so that slices stand as people look at them."""
    return torch.from_numpy(np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0)))


def _normalise(mr: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the foreground, voxels above the volume's mean, the mean 0 and the standard deviation 1."""
    foreground = mr[mr > mr.mean(dtype=np.float64)].astype(np.float64)
    deviation = foreground.std() or 1.0  # of a foreground with a single value
    normalised: NDArray[np.float32] = ((mr - foreground.mean()) / deviation).astype(np.float32)
    return normalised
