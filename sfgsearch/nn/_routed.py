"""Routed networks: one set of filters, of which every task uses those that its masks hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError, BackboneError
from sfgsearch.nn._blocks import MakeBlock
from sfgsearch.nn._builder import ConvRequest, LayerBuilder
from sfgsearch.nn._dimensions import CONVOLUTIONS
from sfgsearch.nn._network import NetworkSpec
from sfgsearch.nn._norms import norm_factory
from sfgsearch.nn._streams import StreamLayout, Streams, apply_stacked, as_streams, distinct
from sfgsearch.nn._structure import Structure, structures


class RoutedConv(nn.Module):
    r"""One convolution for all tasks, whose feature maps each task masks.

    .. math:: x'_t = m_t \cdot \phi(\mathrm{norm}_t(W * x_t))

    (Strezoski, van Noord & Worring, ICCV 2019, who call the mask a task routing layer.) The mask comes after norm
    and activation, so that a masked channel is zero. Norms are per task: each task's stream is masked differently, so
    its statistics are its own, and all tasks are trained in one step. The public code of task routing has one batch
    norm for all tasks, whose running statistics mix them; that of Maximum Roaming keeps none and predicts with the
    statistics of the batch.

    Every response is computed at full width, also of filters that a task masks.

    Args:
        request: The layer.
        masks: Which filters each task holds, bool of shape (T, K).
        dimensions: Spatial dimensions, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    masks: Tensor

    def __init__(self, request: ConvRequest, masks: Tensor, dimensions: int, norm: str) -> None:
        super().__init__()
        geometry = request.geometry
        activation = geometry.pop("activation")
        new_norm = norm_factory(norm, dimensions)
        self.conv = CONVOLUTIONS[dimensions](
            request.source.num_channels(0), request.out_channels, bias=norm == "none", **geometry
        )
        self.norms = nn.ModuleList(new_norm(request.out_channels) for _ in masks)
        self.activation = activation() if activation else nn.Identity()
        self.name = request.name
        self.register_buffer("masks", masks.to(torch.get_default_dtype()))

    def set_masks(self, masks: Tensor) -> None:
        """Change which filters each task holds, bool of shape (T, K)."""
        self.masks.copy_(masks)

    def gate(self, task: int) -> Tensor:
        """Return the mask of a task, shape (1, K, 1, ..)."""
        return self.masks[task].view(1, -1, *[1] * (self.conv.weight.ndim - 2))

    def forward(self, inputs: Tensor | Streams) -> Streams:
        """Return the streams of the tasks, each of shape (B, K, *space), and None for the shared stream."""
        tensors, positions = distinct(as_streams(inputs, len(self.norms))[:-1])
        responses = apply_stacked(self.conv, tensors)
        features = (
            self.gate(task) * self.activation(norm(responses[position]))
            for task, (norm, position) in enumerate(zip(self.norms, positions, strict=True))
            if position is not None
        )
        return (*features, None)

    def extra_repr(self) -> str:
        """Describe the layer in ``print(network)``."""
        return f"filters per task={self.masks.sum(1).int().tolist()}"


class RoutedBlocks(nn.Module):
    """The blocks of a routed network, one per task, all with every channel, under the masks of the layer below.

    Args:
        blocks: T blocks.
        layer: The layer that the streams come from.
    """

    def __init__(self, blocks: Iterable[nn.Module], layer: RoutedConv) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self._layer = [layer]  # in a list: the network owns it already

    def forward(self, streams: Streams) -> Streams:
        """Return the streams, each passed through its block."""
        layer = self._layer[0]
        tasks = enumerate(zip(self.blocks, streams, strict=False))
        return (*(block(stream, layer.gate(task)) for task, (block, stream) in tasks), None)


class RoutedBuilder(LayerBuilder):
    """Builds layers whose filters are masked per task.

    Args:
        masks: For every layer, which filters each task holds, bool of shape (T, K).
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(self, masks: Mapping[str, Tensor], num_tasks: int, dimensions: int, norm: str = "batch") -> None:
        super().__init__(num_tasks, dimensions, norm)
        self._masks = dict(masks)

    def check_complete(self) -> None:
        """Check that the backbone asked for every layer that there are masks for.

        Raises:
            AllocationError: If it lacks one.
        """
        idle = [name for name in self._masks if name not in self._names]
        if idle:
            raise AllocationError(f"the backbone has no layer {idle[0]!r}; it has {', '.join(self._names)}")

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        shape, masks = (self.num_tasks, request.out_channels), self._masks.get(request.name)
        if masks is None or masks.shape != shape or not bool(masks.any(1).all()):
            raise AllocationError(
                f"layer {request.name!r} needs masks of shape {shape} in which every task holds a filter"
            )
        layer = RoutedConv(request, masks, self.dimensions, self.norm)
        every = tuple(range(request.out_channels))
        return layer, StreamLayout((*[every] * self.num_tasks, ()), origin=layer)

    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        if not isinstance(source.origin, RoutedConv):
            raise BackboneError("per_stream blocks must read what conv returned: only there a mask says who speaks")
        return RoutedBlocks((make(source.num_channels(task)) for task in range(self.num_tasks)), source.origin)


def routed_allocation(masks: Mapping[str, Tensor], tasks: tuple[str, ...]) -> Allocation:
    """Describe masks (T, K) as an allocation.

    A filter that several tasks hold counts as shared, one that a single task holds as that task's, one that no task
    holds not at all.
    """
    layers = []
    for name, mask in masks.items():
        holders = mask.sum(0)
        own = (mask & (holders == 1)).sum(1).tolist()
        layers.append(LayerAllocation(name, (*own, int((holders > 1).sum()))))
    return Allocation(group_names(tasks), tuple(layers))


def routed_structure(masks: Mapping[str, Tensor]) -> Structure:
    """Return the structure of what :class:`RoutedBuilder` built with these masks."""
    return Structure("task_routing", {"masks": {name: mask.int().tolist() for name, mask in masks.items()}})


@structures.register("task_routing")
def _build_routed(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    masks = {name: torch.tensor(mask, dtype=torch.bool) for name, mask in details["masks"].items()}
    return spec.build(RoutedBuilder(masks, len(spec.tasks), spec.dimensions, spec.norm))
