"""HighResNet (Li et al., IPMI 2017) over streams: full resolution throughout, context by dilation."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from sfgsearch.backbones._registry import backbones
from sfgsearch.backbones._width import widen
from sfgsearch.errors import BackboneError
from sfgsearch.nn import Backbone, LayerBuilder, StreamBlock, Streams, norm_factory

_FILTERS = (16, 32, 64, 64, 64)
_DILATIONS = (1, 2, 4)
_MOST_BLOCKS = 100


class HighResBlock(StreamBlock):
    r"""A pre-activation residual block of two 3x3 convolutions.

    .. math:: y = x + z\, W_2 * (z\, \phi(\mathrm{norm}_2(W_1 * (z\, \phi(\mathrm{norm}_1(x))))))

    with the stream's gate z, channel-wise, and phi = ReLU. A channel with z = 0 reaches no other and stays zero.

    Args:
        channels: K.
        dimensions: Spatial dimensions, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``; without a norm the convolutions have biases.
        dilation: Of both convolutions.
    """

    def __init__(self, channels: int, dimensions: int, norm: str = "batch", dilation: int = 1) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        new_norm = norm_factory(norm, dimensions)
        make = functools.partial(
            convolution, channels, channels, 3, padding=dilation, dilation=dilation, bias=norm == "none"
        )
        self.norm1, self.conv1 = new_norm(channels), make()
        self.norm2, self.conv2 = new_norm(channels), make()
        self.activation = nn.ReLU()

    def forward(self, stream: Tensor, gate: Tensor | None = None) -> Tensor:
        """Return the stream of shape (B, K, *space) plus what the block adds to it; gate of shape (1, K, 1, ..)."""
        branch = stream
        for norm, convolution in ((self.norm1, self.conv1), (self.norm2, self.conv2)):
            active = self.activation(norm(branch))
            branch = convolution(active if gate is None else gate * active)
        total: Tensor = stream + (branch if gate is None else gate * branch)
        return total


class HighResNet(Backbone):
    """Five allocatable convolutions, the first three of which are followed by residual blocks.

    conv 16, blocks of 16; conv 32, blocks of 32 with dilation 2; conv 64, blocks of 64 with dilation 4; conv 64;
    conv 64. All five have 3x3 (3x3x3) kernels and dilation 1, as in the network that the authors of Stochastic Filter
    Groups published (fork fbragman/NiftyNet, ``highres_mt_learned_v2``). It differs from Li et al. and from
    NiftyNet's ``HighRes3DNet``, which have three blocks a stage, widen inside residual blocks by zero padding, and end
    in one 1x1x1 convolution of 80 filters: there only two plain convolutions could be allocated. Their heads are
    1x1 convolutions, which tasks bring here. Space keeps its size.

    The blocks are ordinary ones, one for every stream that differs; their filters are not allocated.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space) of one image.
        width: Factor on the filters 16, 32, 64, 64, 64.
        blocks: Residual blocks after each of the first three convolutions.

    Raises:
        BackboneError: If the width is out of range, or the number of blocks not 0 to 100.
    """

    def __init__(self, layers: LayerBuilder, image_shape: tuple[int, ...], width: float, blocks: int) -> None:
        super().__init__()
        if not 0 <= blocks <= _MOST_BLOCKS:
            raise BackboneError(f"blocks must be 0 to {_MOST_BLOCKS}, got {blocks}")
        stages: list[nn.Module] = []
        layout = layers.image(image_shape[0])
        for index, filters in enumerate(widen(_FILTERS, width)):
            conv, layout = layers.conv(f"conv{index + 1}", layout, filters, 3)
            stages.append(conv)
            for dilation in _DILATIONS[index : index + 1] * blocks:
                make = functools.partial(
                    HighResBlock, dimensions=layers.dimensions, norm=layers.norm, dilation=dilation
                )
                per_stream, layout = layers.per_stream(layout, make)
                stages.append(per_stream)
        self.stages, self.layout = nn.Sequential(*stages), layout

    def forward(self, streams: Streams) -> Streams:
        """Return the streams of the last convolution, as large as the image."""
        features: Streams = self.stages(streams)
        return features


@backbones.register("highresnet")
def highresnet(
    layers: LayerBuilder, image_shape: tuple[int, ...], *, width: float = 1.0, blocks: int = 2
) -> HighResNet:
    """Build the HighResNet of Bragman et al. (ICCV 2019) after Li et al. (IPMI 2017), in 2D or 3D.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space).
        width: Factor on the filters 16, 32, 64, 64, 64.
        blocks: Residual blocks after each of the first three convolutions.

    Raises:
        BackboneError: If the width is out of range, or the number of blocks not 0 to 100.
    """
    return HighResNet(layers, image_shape, width, blocks)
