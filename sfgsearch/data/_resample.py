"""Volumes with voxels of another size, by MONAI."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfgsearch.data._files import check_memory
from sfgsearch.data._interpolation import interpolate_present
from sfgsearch.errors import DataError

Spacing = tuple[float, float, float]
"""Sides of a voxel in millimetres: left to right, back to front, bottom to top."""


def voxel_size(affine: NDArray[np.float64]) -> Spacing:
    """Return the sides of a voxel."""
    right, front, top = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return right, front, top


def resample(volume: NDArray[Any], affine: NDArray[np.float64], spacing: Spacing) -> NDArray[Any]:
    """Resample a volume to voxels of a size, between the same outer voxels.

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
    quantities = np.issubdtype(volume.dtype, np.floating)
    spacer, meta_tensor = _monai(spacing, "bilinear" if quantities else "nearest")

    def interpolate(values: Tensor) -> Tensor:
        resampled: Tensor = spacer(meta_tensor(values, affine=torch.from_numpy(affine))).as_tensor()
        return resampled

    values = torch.from_numpy(volume.astype(np.float64))[None]
    resampled = interpolate_present(values, interpolate) if quantities else interpolate(values).round()
    return resampled[0].numpy().astype(volume.dtype)


def _monai(spacing: Spacing, mode: str) -> tuple[Any, Any]:
    """Return MONAI's transform and the tensor with an affine that it takes."""
    try:
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.spatial.array import Spacing as Spacer
    except ImportError as error:
        raise DataError("volumes are resampled with MONAI: pip install 'sfgsearch[volumes]'") from error
    return Spacer(pixdim=spacing, mode=mode, padding_mode="border", dtype=np.float64), MetaTensor
