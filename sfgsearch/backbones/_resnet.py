"""Residual networks for small images (He et al., CVPR 2016, section 4.2) over streams."""

from __future__ import annotations

from torch import Tensor, nn

from sfgsearch.backbones._registry import backbones
from sfgsearch.backbones._width import widen
from sfgsearch.errors import BackboneError
from sfgsearch.nn import Backbone, EachStream, LayerBuilder, StreamLayout, Streams

_STAGES = (16, 32, 64)
_DEEPEST = 1202


class ResNet(Backbone):
    r"""A stem and three stages of basic blocks, :math:`x \mapsto \mathrm{ReLU}(x + f(x))` with two convolutions in f.

    The first block of the second and third stage halves space and widens. Its shortcut has no parameters (the
    paper's option A): every second pixel, and zeros for the new channels, half of them on either side. All 6n+1
    convolutions are allocatable; a stream carries whatever channels its group has in any block of the stage.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space) of one image.
        depth: 6n+2, the layers with weights, a linear head included.
        width: Factor on the filters 16, 32, 64 of the stages.

    Raises:
        BackboneError: If the depth is not 6n+2 or above 1202, or the width out of range.
    """

    def __init__(self, layers: LayerBuilder, image_shape: tuple[int, ...], depth: int, width: float) -> None:
        super().__init__()
        if not 8 <= depth <= _DEEPEST or depth % 6 != 2:
            below = min(max(8, depth - (depth - 2) % 6), _DEEPEST - 6)
            raise BackboneError(
                f"a ResNet for small images has a depth of 6n+2 (8, 14, 20, 32, 44, 56, ..), got {depth}; "
                f"choose {below} or {below + 6}"
            )
        stages = widen(_STAGES, width)
        self.stem, layout = layers.conv("stem", layers.image(image_shape[0]), stages[0], 3, padding=1)
        blocks: list[nn.Module] = []
        for stage, filters in enumerate(stages, start=1):
            for block in range(1, (depth - 2) // 6 + 1):
                halve = stage > 1 and block == 1
                offset = (filters - stages[stage - 2]) // 2 if halve else 0
                made = BasicBlock(layers, f"stage{stage}_block{block}", layout, filters, halve=halve, offset=offset)
                blocks.append(made)
                layout = made.layout
        self.blocks, self.layout = nn.Sequential(*blocks), layout

    def forward(self, streams: Streams) -> Streams:
        """Return the streams of the last block, at a quarter of the image's resolution."""
        features: Streams = self.blocks(self.stem(streams))
        return features


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them.

    Args:
        layers: What builds the convolutions.
        name: First part of the convolutions' names.
        source: Layout of the streams that the block reads.
        filters: Filters of both convolutions, at least as many as the block reads channels.
        halve: Whether to halve space; the shortcut keeps every second pixel.
        offset: The filter to which the shortcut adds its first channel.
    """

    def __init__(
        self, layers: LayerBuilder, name: str, source: StreamLayout, filters: int, *, halve: bool, offset: int
    ) -> None:
        super().__init__()
        stride = 2 if halve else 1
        self.conv1, inner = layers.conv(f"{name}_conv1", source, filters, 3, stride=stride, padding=1)
        self.conv2, branch = layers.conv(f"{name}_conv2", inner, filters, 3, padding=1, activation=None)
        self.shortcut = EachStream(EverySecondPixel()) if halve else nn.Identity()
        self.add, self.layout = layers.add(source.shifted(offset), branch)
        self.relu = EachStream(nn.ReLU())

    def forward(self, streams: Streams) -> Streams:
        """Return the block's streams."""
        total: Streams = self.relu(self.add(self.shortcut(streams), self.conv2(self.conv1(streams))))
        return total


class EverySecondPixel(nn.Module):
    """Subsample space: (B, C, *space) to half of each side, rounded up."""

    def forward(self, stream: Tensor) -> Tensor:
        """Return the pixels with even coordinates."""
        everything, even = slice(None), slice(None, None, 2)
        return stream[(everything, everything, *[even] * (stream.ndim - 2))]


@backbones.register("resnet")
def resnet(layers: LayerBuilder, image_shape: tuple[int, ...], *, depth: int = 20, width: float = 1.0) -> ResNet:
    """Build the ResNet for CIFAR-sized images (He et al., CVPR 2016, section 4.2), in 2D or 3D.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space).
        depth: 6n+2: 20, 32, 44, 56 and 110 in the paper.
        width: Factor on the filters 16, 32, 64 of the stages.

    Raises:
        BackboneError: If the depth is not 6n+2 or above 1202, or the width out of range.
    """
    return ResNet(layers, image_shape, depth, width)
