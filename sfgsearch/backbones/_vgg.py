"""VGG networks (Simonyan & Zisserman, ICLR 2015) over streams."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sfgsearch.backbones._registry import backbones
from sfgsearch.backbones._width import widen
from sfgsearch.errors import BackboneError
from sfgsearch.nn import Backbone, EachStream, LayerBuilder, Streams

POOL = "pool"
_VGG11 = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512)
_SMALL = (16, 32, POOL, 32, 64)
_MOST_STEPS, _MOST_FILTERS = 200, 65_536


class VGG(Backbone):
    """3x3 convolutions with max-pooling between stages.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space) of one image.
        plan: Filters of each convolution in order, with ``"pool"`` where space is halved.

    Raises:
        BackboneError: If an image has fewer pixels along a side than the pools need.
    """

    def __init__(self, layers: LayerBuilder, image_shape: tuple[int, ...], plan: Sequence[int | str]) -> None:
        super().__init__()
        smallest = 2 ** list(plan).count(POOL)
        if min(image_shape[1:]) < smallest:
            raise BackboneError(
                f"a VGG with {list(plan).count(POOL)} pools needs images of at least {smallest} pixels a side, "
                f"got {' x '.join(map(str, image_shape[1:]))}; choose a shallower backbone or larger images"
            )
        pool = nn.MaxPool2d if layers.dimensions == 2 else nn.MaxPool3d
        stages: list[nn.Module] = []
        layout, convolutions = layers.image(image_shape[0]), 0
        for step in plan:
            if isinstance(step, str):
                stages.append(EachStream(pool(2)))
                continue
            convolutions += 1
            conv, layout = layers.conv(f"conv{convolutions}", layout, step, 3, padding=1)
            stages.append(conv)
        self.stages, self.layout = nn.Sequential(*stages), layout

    def forward(self, streams: Streams) -> Streams:
        """Return the streams of the last convolution."""
        features: Streams = self.stages(streams)
        return features


def _widen(plan: Sequence[int | str], width: float) -> list[int | str]:
    return [step if isinstance(step, str) else widen([step], width)[0] for step in plan]


@backbones.register("vgg11")
def vgg11(layers: LayerBuilder, image_shape: tuple[int, ...], *, width: float = 0.5) -> VGG:
    """Build the authors' VGG-11 (Bragman et al., ICCV 2019): eight convolutions, four pools, no fully connected layers.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space), at least 16 pixels a side.
        width: Factor on the filters 64, 128, 256, 256, 512, 512, 512, 512; the paper's runs use 0.5.
    """
    return VGG(layers, image_shape, _widen(_VGG11, width))


@backbones.register("vgg_small")
def vgg_small(
    layers: LayerBuilder, image_shape: tuple[int, ...], *, width: float = 1.0, plan: Sequence[int | str] = _SMALL
) -> VGG:
    """Build a small VGG for images of 10x10 to 36x36 pixels.

    Args:
        layers: What builds the convolutions.
        image_shape: (C, *space).
        width: Factor on the filters.
        plan: Filters of each convolution, with ``"pool"`` where space is halved.

    Raises:
        BackboneError: If the plan is empty, has more than 200 steps, or holds anything else.
    """
    if len(plan) > _MOST_STEPS:
        raise BackboneError(f"plan has {len(plan)} steps; at most {_MOST_STEPS} are allowed")
    if not [step for step in plan if step != POOL] or any(step != POOL and not _is_width(step) for step in plan):
        raise BackboneError(
            f"plan must list filters (whole numbers from 1 to {_MOST_FILTERS}) and {POOL!r}, got {list(plan)}"
        )
    return VGG(layers, image_shape, _widen(plan, width))


def _is_width(step: int | str) -> bool:
    return isinstance(step, int) and not isinstance(step, bool) and 1 <= step <= _MOST_FILTERS
