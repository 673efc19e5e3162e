"""Slices of an average brain: two dense tasks on real MRI that ships with packages."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sfgsearch._registry import data_sets
from sfgsearch.data._brain_template import REGIONS, BrainTemplate, brain_template
from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import DenseRegression, Segmentation

_FRAME = (slice(18, 162), slice(18, 198))  # the brain, 144 x 180 mm
_SPACINGS = (1, 2, 3, 4, 6)  # which divide the frame
_FIRST, _SLABS, _THICKNESS, _GAP = 6, 15, 7, 3
_NEIGHBOURS = ("train", "train", "train", "validation", "test")
_LEAST_SHARE, _DRAWS = 0.05, 1000

Slabs = dict[str, list[range]]


@data_sets.register("brain_slices")
def brain_slices(seed: int, *, spacing: int = 2, every: int = 1) -> MultiTaskData:
    """Axial slices of a T1-weighted MRI: how much of each voxel is grey matter, and in which region does it lie?

    It is one brain, the average of 152 people (MNI ICBM 152, with AAL labels): a demonstration of dense tasks on real
    images, not a clinical result. Neighbouring slices are alike, so splits are slabs of slices with 3 mm between
    them that nobody reads: of every five neighbouring slabs three are for training, one for validation, one for
    test. The template is left-right symmetric, so hemispheres would be no split at all.

    Args:
        seed: Fixes which slabs are whose; each split gets at least 5 % of every region's voxels.
        spacing: Millimetres a pixel: 1, 2, 3, 4 or 6. Slices are 1 mm thick; pixels are averages, and have the
            region that most of them lies in.
        every: Reads one of so many slices of a slab, which has 7.

    Returns:
        Images of shape (1, 180 / spacing, 144 / spacing) in [0, 1], front to back and left to right, and the tasks
        ``grey_matter`` (a probability) and ``regions`` (background, cortex, deep nuclei, cerebellum).

    Raises:
        DataError: If a package of the extra ``brain`` is missing or an option is out of range.
    """
    if spacing not in _SPACINGS or not 1 <= every <= _THICKNESS:
        allowed = ", ".join(map(str, _SPACINGS))
        raise DataError(f"spacing must be one of {allowed} and every 1 to {_THICKNESS}, got {spacing} and {every}")
    template = brain_template()
    slabs = _assign_slabs(template.regions, every, np.random.default_rng(seed))
    train, validation, test = (_split(template, slabs[name], spacing) for name in ("train", "validation", "test"))
    tasks = (
        DenseRegression("grey_matter", span=1.0),
        Segmentation("regions", num_classes=len(REGIONS), classes=REGIONS),
    )
    return MultiTaskData(tasks, train, validation, test)


def _assign_slabs(regions: NDArray[np.uint8], every: int, random: np.random.Generator) -> Slabs:
    """Return the slices of every split, drawn until each split holds every region."""
    starts = [_FIRST + index * (_THICKNESS + _GAP) for index in range(_SLABS)]
    slabs = [range(start, start + _THICKNESS, every) for start in starts]
    voxels = np.array([np.bincount(regions[:, :, list(slab)].ravel(), minlength=len(REGIONS)) for slab in slabs])
    shares = voxels / voxels.sum(0).clip(1)
    for _ in range(_DRAWS):
        owners = np.concatenate([random.permutation(_NEIGHBOURS) for _ in range(_SLABS // len(_NEIGHBOURS))])
        if all((shares[owners == split].sum(0) >= _LEAST_SHARE).all() for split in _NEIGHBOURS):
            return {
                split: [slab for slab, owner in zip(slabs, owners, strict=True) if owner == split]
                for split in _NEIGHBOURS
            }
    raise DataError(f"with every = {every}, no split by slabs gives every region to all three splits; lower it")


def _split(template: BrainTemplate, slabs: list[range], spacing: int) -> InMemory:
    slices = [index for slab in slabs for index in slab]
    t1, grey = (_average(volume[_FRAME][:, :, slices], spacing) for volume in (template.t1, template.grey))
    labels = template.regions[_FRAME][:, :, slices]
    shares = [_average((labels == label).astype(np.float32), spacing) for label in range(len(REGIONS))]
    regions = np.stack(shares).argmax(0)
    return InMemory(
        torch.from_numpy(t1)[:, None],
        {"grey_matter": torch.from_numpy(grey), "regions": torch.from_numpy(regions)},
        _source(template, slices, spacing),
    )


def _source(template: BrainTemplate, slices: list[int], spacing: int) -> SplitIdentity:
    """Return the identity of slices before processors average them, each with roundings of its own."""
    t1, grey, regions = (volume[:, :, slices].transpose(2, 0, 1) for volume in template)
    size = np.array([spacing])
    return SplitIdentity.of(len(slices), [t1, size], {"grey_matter": [grey, size], "regions": [regions, size]})


def _average(slices: NDArray[np.float32], spacing: int) -> NDArray[np.float32]:
    """Average squares of ``spacing`` pixels a side.

    Args:
        slices: Shape (X, Y, N), left to right and back to front.
        spacing: Divides X and Y.

    Returns:
        Shape (N, Y / spacing, X / spacing), front to back and left to right, as people look at slices.
    """
    width, height, number = slices.shape
    upright = slices[:, ::-1].transpose(2, 1, 0)
    squares = upright.reshape(number, height // spacing, spacing, width // spacing, spacing)
    averages: NDArray[np.float32] = squares.mean(axis=(2, 4))
    return averages
