"""Cross-stitch networks: one network per task, whose feature maps are mixed after every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sfgsearch.nn._blocks import AllocatedBlocks, MakeBlock
from sfgsearch.nn._builder import ConvRequest, LayerBuilder
from sfgsearch.nn._dimensions import CONVOLUTIONS
from sfgsearch.nn._network import NetworkSpec
from sfgsearch.nn._norms import norm_factory
from sfgsearch.nn._streams import StreamLayout, Streams, as_streams
from sfgsearch.nn._structure import Structure, structures

Granularity = Literal["layer", "channel"]


class CrossStitch(nn.Module):
    r"""Mixes the feature maps of the tasks, channel k of one with channel k of the others.

    .. math:: \tilde{x}_t[k] = \sum_{u=1}^{T} \alpha_{tuk}\, x_u[k]

    (Misra, Shrivastava, Gupta & Hebert, CVPR 2016, equation 1, for any number of tasks.)

    Args:
        num_tasks: T >= 1.
        num_channels: K.
        per: ``"channel"`` learns every :math:`\alpha_{tuk}`, ``"layer"`` one :math:`\alpha_{tu}` for all channels.
        own: The initial :math:`\alpha_{tt}`; the other tasks share the rest evenly. One for T = 1.

    Raises:
        ValueError: If ``per`` is unknown.
    """

    def __init__(self, num_tasks: int, num_channels: int, per: Granularity = "channel", own: float = 0.9) -> None:
        super().__init__()
        if per not in get_args(Granularity):
            raise ValueError(f"per must be one of {', '.join(get_args(Granularity))}, got {per!r}")
        others = (1 - own) / max(num_tasks - 1, 1)
        mix = torch.full((num_tasks, num_tasks), others).fill_diagonal_(own if num_tasks > 1 else 1.0)
        self.alpha = nn.Parameter(mix[..., None].repeat(1, 1, num_channels if per == "channel" else 1))
        self.num_channels = num_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return the mixed features for stacked features, both of shape (T, B, K, *space)."""
        alpha = self.alpha.expand(-1, -1, self.num_channels)
        return torch.einsum("tuk,ubk...->tbk...", alpha, features)

    def extra_repr(self) -> str:
        """Describe the unit in ``print(network)``."""
        return f"num_tasks={len(self.alpha)}, num_channels={self.num_channels}, coefficients={self.alpha.numel()}"


class CrossStitchConv(nn.Module):
    """One layer of T networks, convolution, norm and activation for each, and the unit that mixes what they return.

    Args:
        request: The layer.
        num_tasks: T >= 1.
        dimensions: Spatial dimensions, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        per: As in :class:`CrossStitch`.
        own: As in :class:`CrossStitch`.
    """

    def __init__(
        self, request: ConvRequest, num_tasks: int, dimensions: int, norm: str, per: Granularity, own: float
    ) -> None:
        super().__init__()
        geometry = request.geometry
        activation = geometry.pop("activation")
        new_norm = norm_factory(norm, dimensions)
        self.tasks = nn.ModuleList(
            nn.Sequential(
                CONVOLUTIONS[dimensions](
                    request.source.num_channels(task), request.out_channels, bias=norm == "none", **geometry
                ),
                new_norm(request.out_channels),
                activation() if activation else nn.Identity(),
            )
            for task in range(num_tasks)
        )
        self.unit = CrossStitch(num_tasks, request.out_channels, per, own)

    def forward(self, inputs: Tensor | Streams) -> Streams:
        """Return the mixed streams of the tasks, each of shape (B, K, *space), and None for the shared stream."""
        streams = as_streams(inputs, len(self.tasks))
        features = torch.stack([network(stream) for network, stream in zip(self.tasks, streams, strict=False)])
        return (*self.unit(features).unbind(), None)


class CrossStitchBuilder(LayerBuilder):
    """Builds the layers of T full-width networks with a cross-stitch unit after every allocatable layer.

    The blocks between allocatable layers are part of every task's network and are not mixed.

    Args:
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        per: As in :class:`CrossStitch`.
        own: As in :class:`CrossStitch`.
    """

    def __init__(
        self, num_tasks: int, dimensions: int, norm: str = "batch", per: Granularity = "channel", own: float = 0.9
    ) -> None:
        super().__init__(num_tasks, dimensions, norm)
        self._per, self._own = per, own

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        layer = CrossStitchConv(request, self.num_tasks, self.dimensions, self.norm, self._per, self._own)
        every = tuple(range(request.out_channels))
        return layer, StreamLayout((*[every] * self.num_tasks, ()))

    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        return AllocatedBlocks(source, make, separate=True)


def cross_stitch_structure(per: Granularity) -> Structure:
    """Return the structure of what :class:`CrossStitchBuilder` built; the coefficients are in the state dict."""
    return Structure("cross_stitch", {"per": per})


@structures.register("cross_stitch")
def _build_cross_stitch(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return spec.build(CrossStitchBuilder(len(spec.tasks), spec.dimensions, spec.norm, details["per"]))
