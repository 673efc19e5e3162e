"""A layer with a fixed allocation: T+1 plain convolutions and no masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sfgsearch.nn._conv import SFGConv, Size
from sfgsearch.nn._dimensions import CONVOLUTIONS
from sfgsearch.nn._norms import copy_channels, norm_factory
from sfgsearch.nn._streams import StreamLayout, Streams, as_streams


class AllocatedConv(nn.Module):
    """What an :class:`SFGConv` is once its gates are one-hot.

    Group g's filters are a plain convolution of the channels that stream g carries; stream t then holds the
    channels of task t followed by the shared ones, the shared stream the shared ones only. A group without
    filters has no convolution.

    Args:
        source: The channels that each stream brings in.
        filters: For every group, the indices of its filters in the full-width layer: tasks in order, then shared.
        kernel_size: As in torch's convolutions.
        dimensions: Spatial dimensions, 2 or 3.
        stride: As in torch's convolutions.
        padding: As in torch's convolutions.
        dilation: As in torch's convolutions.
        bias: As in :class:`SFGConv`.
        norm: As in :class:`SFGConv`.
        activation: As in :class:`SFGConv`.

    Raises:
        ValueError: If a group has filters but its stream carries nothing.
    """

    def __init__(
        self,
        source: StreamLayout,
        filters: Sequence[Sequence[int]],
        kernel_size: Size,
        dimensions: int,
        *,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        bias: bool | None = None,
        norm: str = "batch",
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        super().__init__()
        self.source = source
        self.filters = tuple(tuple(indices) for indices in filters)
        shared = self.filters[-1]
        self.layout = StreamLayout((*(own + shared for own in self.filters[:-1]), shared))
        self._unread: set[int] = set()
        convolution, new_norm = CONVOLUTIONS[dimensions], norm_factory(norm, dimensions)
        self.groups = nn.ModuleDict()
        for group, indices in enumerate(self.filters):
            if not indices:
                continue
            if not source.members[group]:
                raise ValueError(f"group {group} has {len(indices)} filters, but its stream carries no channels")
            self.groups[str(group)] = nn.Sequential(
                convolution(
                    source.num_channels(group),
                    len(indices),
                    kernel_size,  # type: ignore[arg-type]
                    stride=stride,  # type: ignore[arg-type]
                    padding=padding,  # type: ignore[arg-type]
                    dilation=dilation,  # type: ignore[arg-type]
                    bias=norm == "none" if bias is None else bias,
                ),
                new_norm(len(indices)),
                activation() if activation else nn.Identity(),
            )

    def forward(self, inputs: Tensor | Streams) -> Streams:
        """Return T+1 streams of the channels that :attr:`layout` lists; None for one that is empty or not read.

        Raises:
            ValueError: If there are not T+1 streams.
        """
        streams = as_streams(inputs, len(self.filters) - 1)
        features = [
            self.groups[str(group)](stream) if str(group) in self.groups else None
            for group, stream in enumerate(streams)
        ]
        shared = features[-1]
        joined = (*(_join(own, shared) for own in features[:-1]), shared)
        return tuple(None if group in self._unread else stream for group, stream in enumerate(joined))

    def drop_unread(self, unread: set[str]) -> list[int]:
        """Drop the groups whose filters nothing reads, and return them; their streams become empty.

        Args:
            unread: Names of parameters of this layer that no prediction depends on.
        """
        dropped = [int(name) for name in self.groups if f"groups.{name}.0.weight" in unread]
        for group in dropped:
            del self.groups[str(group)]
        self._unread |= set(dropped)
        return dropped

    @torch.no_grad()
    def load_trained(self, trained: SFGConv) -> None:
        """Take over the weights and norms of a trained layer, each group those of its own filters."""
        for name, sequence in self.groups.items():
            group = int(name)
            filters = torch.tensor(self.filters[group], device=trained.weight.device)
            channels = torch.tensor(self.source.members[group], device=trained.weight.device)
            convolution, norm, _ = cast(nn.Sequential, sequence)
            convolution.weight.copy_(trained.weight[filters][:, channels])  # type: ignore[operator]
            if trained.bias is not None and convolution.bias is not None:
                convolution.bias.copy_(trained.bias[filters])  # type: ignore[operator]
            copy_channels(norm, trained.norms[group], self.filters[group])

    def extra_repr(self) -> str:
        """Describe the layer in ``print(network)``."""
        return f"filters per group={[len(indices) for indices in self.filters]}"


def _join(own: Tensor | None, shared: Tensor | None) -> Tensor | None:
    if own is None or shared is None:
        return shared if own is None else own
    return torch.cat([own, shared], dim=1)
