"""VGG networks (Simonyan & Zisserman, ICLR 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sfgsearch._registry import backbones
from sfgsearch.backbones._layers import conv3, norm_of, widen
from sfgsearch.errors import BackboneError
from sfgsearch.nn import NormName

POOL = "pool"
_VGG11 = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512)
_SMALL = (16, 32, POOL, 32, 64)
_MOST_STEPS, _MOST_FILTERS = 200, 65_536


class VGG(nn.Sequential):
    """3x3 convolutions with norm and ReLU, and max-pooling between stages.

    Args:
        image_shape: (C, *space) of one image.
        plan: Filters of each convolution in order, with ``"pool"`` where space is halved.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.

    Raises:
        BackboneError: If an image has fewer pixels along a side than the pools need.
    """

    def __init__(self, image_shape: tuple[int, ...], plan: Sequence[int | str], norm: str) -> None:
        super().__init__()
        smallest = 2 ** list(plan).count(POOL)
        if min(image_shape[1:]) < smallest:
            raise BackboneError(
                f"a VGG with {list(plan).count(POOL)} pools needs images of at least {smallest} pixels a side, "
                f"got {' x '.join(map(str, image_shape[1:]))}; choose a shallower backbone or larger images"
            )
        dimensions, channels = len(image_shape) - 1, image_shape[0]
        convolutions = pools = 0
        for step in plan:
            if isinstance(step, str):
                pools += 1
                self.add_module(f"pool{pools}", nn.MaxPool2d(2) if dimensions == 2 else nn.MaxPool3d(2))
                continue
            convolutions += 1
            self.add_module(f"conv{convolutions}", conv3(dimensions, channels, step, norm))
            self.add_module(f"norm{convolutions}", norm_of(dimensions, step, norm))
            self.add_module(f"relu{convolutions}", nn.ReLU(inplace=True))
            channels = step


def _widen(plan: Sequence[int | str], width: float) -> list[int | str]:
    filters = iter(widen([step for step in plan if not isinstance(step, str)], width))
    return [step if isinstance(step, str) else next(filters) for step in plan]


@backbones.register("vgg11")
def vgg11(image_shape: tuple[int, ...], *, norm: NormName = "batch", width: float = 0.5) -> VGG:
    """Build the authors' VGG-11 (Bragman et al., ICCV 2019): eight convolutions, four pools, no fully connected layers.

    Args:
        image_shape: (C, *space), at least 16 pixels a side.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        width: Factor on the filters 64, 128, 256, 256, 512, 512, 512, 512; the paper's runs use 0.5.
    """
    return VGG(image_shape, _widen(_VGG11, width), norm)


@backbones.register("vgg_small")
def vgg_small(
    image_shape: tuple[int, ...],
    *,
    norm: NormName = "batch",
    width: float = 1.0,
    plan: Sequence[int | str] = _SMALL,
) -> VGG:
    """Build a small VGG for images of 10x10 to 36x36 pixels.

    Args:
        image_shape: (C, *space).
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
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
    return VGG(image_shape, _widen(plan, width), norm)


def _is_width(step: int | str) -> bool:
    return isinstance(step, int) and not isinstance(step, bool) and 1 <= step <= _MOST_FILTERS
