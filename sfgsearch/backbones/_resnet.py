"""Residual networks for small images (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from sfgsearch._registry import backbones
from sfgsearch.backbones._layers import conv3, norm_of, widen
from sfgsearch.errors import BackboneError
from sfgsearch.nn import NormName

_STAGES = (16, 32, 64)
_DEEPEST = 1202


class ResNet(nn.Sequential):
    r"""A stem and three stages of basic blocks, :math:`x \mapsto \mathrm{ReLU}(x + f(x))` with two convolutions in f.

    The first block of the second and third stage halves space and widens. Its shortcut has no parameters (the
    paper's option A): every second pixel, and zeros for the new channels, half of them on either side. So the stem's
    channels go through all stages: the same filters, whichever block adds to them.

    Args:
        image_shape: (C, *space) of one image.
        depth: 6n+2, the layers with weights, a linear head included.
        width: Factor on the filters 16, 32, 64 of the stages.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.

    Raises:
        BackboneError: If the depth is not 6n+2 or above 1202, or the width out of range.
    """

    def __init__(self, image_shape: tuple[int, ...], depth: int, width: float, norm: str) -> None:
        super().__init__()
        if not 8 <= depth <= _DEEPEST or depth % 6 != 2:
            below = min(max(8, depth - (depth - 2) % 6), _DEEPEST - 6)
            raise BackboneError(
                f"a ResNet for small images has a depth of 6n+2 (8, 14, 20, 32, 44, 56, ..), got {depth}; "
                f"choose {below} or {below + 6}"
            )
        stages, dimensions = widen(_STAGES, width), len(image_shape) - 1
        self.stem = conv3(dimensions, image_shape[0], stages[0], norm)
        self.norm, self.relu = norm_of(dimensions, stages[0], norm), nn.ReLU(inplace=True)
        channels = stages[0]
        for stage, filters in enumerate(stages, start=1):
            for block in range(1, (depth - 2) // 6 + 1):
                halve = stage > 1 and block == 1
                self.add_module(
                    f"stage{stage}_block{block}", BasicBlock(dimensions, channels, filters, norm, halve=halve)
                )
                channels = filters


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them.

    Args:
        dimensions: Spatial dimensions, 2 or 3.
        channels: Channels that it reads.
        filters: Filters of both convolutions, at least as many.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        halve: Whether to halve space; the shortcut keeps every second pixel.
    """

    def __init__(self, dimensions: int, channels: int, filters: int, norm: str, *, halve: bool) -> None:
        super().__init__()
        self.conv1 = conv3(dimensions, channels, filters, norm, stride=2 if halve else 1)
        self.norm1, self.relu = norm_of(dimensions, filters, norm), nn.ReLU(inplace=True)
        self.conv2, self.norm2 = conv3(dimensions, filters, filters, norm), norm_of(dimensions, filters, norm)
        self._halve, before = halve, (filters - channels) // 2
        self._zeros = (*[0] * (2 * dimensions), before, filters - channels - before)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        branch = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return functional.relu(self._shortcut(x) + branch)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self._halve:
            everything, even = slice(None), slice(None, None, 2)
            x = x[(everything, everything, *[even] * (x.ndim - 2))]
        return functional.pad(x, self._zeros) if any(self._zeros) else x


@backbones.register("resnet")
def resnet(image_shape: tuple[int, ...], *, norm: NormName = "batch", depth: int = 20, width: float = 1.0) -> ResNet:
    """Build the ResNet for CIFAR-sized images (He et al., CVPR 2016, section 4.2), in 2D or 3D.

    Args:
        image_shape: (C, *space).
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        depth: 6n+2: 20, 32, 44, 56 and 110 in the paper.
        width: Factor on the filters 16, 32, 64 of the stages.

    Raises:
        BackboneError: If the depth is not 6n+2 or above 1202, or the width out of range.
    """
    return ResNet(image_shape, depth, width, norm)
