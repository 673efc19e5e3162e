"""What tasks with a prediction for every voxel have in common."""

from __future__ import annotations

from torch import nn

from sfgsearch.nn import Head

_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def dense_head(in_channels: int, outputs: int, dimensions: int, hidden: int = 0) -> Head:
    """Build a head that reads every voxel by itself, without pooling.

    Args:
        in_channels: Channels of the task's stream.
        outputs: Numbers per voxel.
        dimensions: Spatial dimensions, 2 or 3.
        hidden: Channels of a hidden 1x1 convolution with batch norm and ReLU; 0 for a single 1x1 convolution.

    Returns:
        A head of predictions (B, outputs, *space), interpolated to the space of the images.
    """
    convolution = _CONVOLUTIONS[dimensions]
    if not hidden:
        return Head(convolution(in_channels, outputs, 1), resize=True)
    after = nn.Sequential(_NORMS[dimensions](hidden), nn.ReLU(), convolution(hidden, outputs, 1))
    return Head(convolution(in_channels, hidden, 1, bias=False), after=after, resize=True)
