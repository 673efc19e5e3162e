"""HighResNet (Li et al., IPMI 2017): full resolution throughout, context by dilation."""

from __future__ import annotations

from torch import Tensor, nn

from sfgsearch._registry import backbones
from sfgsearch.backbones._layers import conv3, norm_of, widen
from sfgsearch.errors import BackboneError
from sfgsearch.nn import NormName, PerStream

_FILTERS = (16, 32, 64, 64, 64)
_DILATIONS = (1, 2, 4)
_MOST_BLOCKS = 100


class HighResBlock(nn.Module):
    r"""A pre-activation residual block of two 3x3 convolutions.

    .. math:: y = x + W_2 * \phi(\mathrm{norm}_2(W_1 * \phi(\mathrm{norm}_1(x))))

    Args:
        dimensions: Spatial dimensions, 2 or 3.
        channels: K.
        norm: ``"batch"``, ``"instance"`` or ``"none"``; without a norm the convolutions have biases.
        dilation: Of both convolutions.
    """

    def __init__(self, dimensions: int, channels: int, norm: str = "batch", dilation: int = 1) -> None:
        super().__init__()
        self.norm1, self.conv1 = (
            norm_of(dimensions, channels, norm),
            conv3(dimensions, channels, channels, norm, dilation),
        )
        self.norm2, self.conv2 = (
            norm_of(dimensions, channels, norm),
            conv3(dimensions, channels, channels, norm, dilation),
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return features of shape (B, K, *space)."""
        branch = self.conv1(self.relu(self.norm1(x)))
        total: Tensor = x + self.conv2(self.relu(self.norm2(branch)))
        return total


class HighResNet(nn.Sequential):
    """Five convolutions, the first three of which are followed by residual blocks.

    conv 16, blocks of 16; conv 32, blocks of 32 with dilation 2; conv 64, blocks of 64 with dilation 4; conv 64;
    conv 64. All five have 3x3 (3x3x3) kernels and dilation 1, as in the network that the authors of Stochastic Filter
    Groups published (fork fbragman/NiftyNet, ``highres_mt_learned_v2``). It differs from Li et al. and from
    NiftyNet's ``HighRes3DNet``, which have three blocks a stage, widen inside residual blocks by zero padding, and end
    in one 1x1x1 convolution of 80 filters. Space keeps its size.

    The authors allocate the five convolutions only, and give every stream residual blocks of its own, in which all its
    channels mix: ``per_stream`` does, and needs the streams' execution. Otherwise what is added is tied: the filters of
    a stage's convolution are those of its blocks, and a block's inner filters are allocated as well.

    Args:
        image_shape: (C, *space) of one image.
        width: Factor on the filters 16, 32, 64, 64, 64.
        blocks: Residual blocks after each of the first three convolutions.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        per_stream: Whether every stream has residual blocks of its own.

    Raises:
        BackboneError: If the width is out of range, or the number of blocks not 0 to 100.
    """

    def __init__(self, image_shape: tuple[int, ...], width: float, blocks: int, norm: str, per_stream: bool) -> None:
        super().__init__()
        if not 0 <= blocks <= _MOST_BLOCKS:
            raise BackboneError(f"blocks must be 0 to {_MOST_BLOCKS}, got {blocks}")
        dimensions, channels = len(image_shape) - 1, image_shape[0]
        for stage, filters in enumerate(widen(_FILTERS, width), start=1):
            self.add_module(f"conv{stage}", conv3(dimensions, channels, filters, norm))
            self.add_module(f"norm{stage}", norm_of(dimensions, filters, norm))
            self.add_module(f"relu{stage}", nn.ReLU(inplace=True))
            dilations = _DILATIONS[stage - 1 : stage] * blocks
            residual = [HighResBlock(dimensions, filters, norm, dilation) for dilation in dilations]
            if per_stream and residual:
                self.add_module(f"blocks{stage}", PerStream(nn.Sequential(*residual)))
            else:
                for number, block in enumerate(residual, start=1):
                    self.add_module(f"block{stage}_{number}", block)
            channels = filters


@backbones.register("highresnet")
def highresnet(
    image_shape: tuple[int, ...],
    *,
    norm: NormName = "batch",
    width: float = 1.0,
    blocks: int = 2,
    per_stream: bool = False,
) -> HighResNet:
    """Build the HighResNet of Bragman et al. (ICCV 2019) after Li et al. (IPMI 2017), in 2D or 3D.

    Args:
        image_shape: (C, *space).
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        width: Factor on the filters 16, 32, 64, 64, 64.
        blocks: Residual blocks after each of the first three convolutions.
        per_stream: Whether every stream has residual blocks of its own, as published.

    Raises:
        BackboneError: If the width is out of range, or the number of blocks not 0 to 100.
    """
    return HighResNet(image_shape, width, blocks, norm, per_stream)
