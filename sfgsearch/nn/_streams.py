"""Streams: what flows towards each group of the next layer.

Between two layers a network with T tasks carries T+1 tensors (x_1 .. x_T, x_shared). Streams that are equal by
construction, as all are at the image, are the same tensor object, and layers compute them once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Streams = tuple[Tensor | None, ...]
"""T+1 tensors of shape (batch, channels, *space): one per task in order, then shared; None for an empty stream."""


@dataclass(frozen=True)
class StreamLayout:
    """Which channels of the full-width layer each stream carries.

    Args:
        members: For every stream, the channel indices in the order in which the stream's tensor holds them.
        origin: What the builder that made the streams wants to know of them later; part of no comparison.
    """

    members: tuple[tuple[int, ...], ...]
    origin: object = field(default=None, compare=False, repr=False)

    @classmethod
    def full(cls, num_channels: int, num_streams: int) -> StreamLayout:
        """Return the layout in which every stream carries every channel."""
        return cls((tuple(range(num_channels)),) * num_streams)

    def num_channels(self, stream: int) -> int:
        """Return how many channels a stream carries."""
        return len(self.members[stream])

    def shifted(self, offset: int) -> StreamLayout:
        """Return the layout with all channels renamed, as a shortcut into the middle of a wider layer needs it."""
        members = tuple(tuple(channel + offset for channel in members) for members in self.members)
        return StreamLayout(members, self.origin)


def distinct(streams: Streams) -> tuple[list[Tensor], list[int | None]]:
    """Return the different tensors among the streams, and for every stream its index among them (None if empty)."""
    tensors: list[Tensor] = []
    positions: list[int | None] = []
    for stream in streams:
        known = next((index for index, tensor in enumerate(tensors) if tensor is stream), None)
        if stream is not None and known is None:
            known = len(tensors)
            tensors.append(stream)
        positions.append(known)
    return tensors, positions


def map_streams(function: Callable[[Tensor], Tensor], streams: Streams) -> Streams:
    """Apply a function to every stream, once for streams that are the same tensor."""
    tensors, positions = distinct(streams)
    results = [function(tensor) for tensor in tensors]
    return tuple(None if position is None else results[position] for position in positions)


def apply_stacked(function: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Apply a function that treats images by themselves to several tensors at once, stacked along the batch.

    Args:
        function: Maps (B, ...) to (B, ...).
        tensors: At least one, all of one shape (B, C, *space).
    """
    if len(tensors) == 1:
        return [function(tensors[0])]
    results = function(torch.cat(list(tensors)))
    # Not chunk: ONNX cannot split a batch of unknown size.
    return results.reshape(len(tensors), tensors[0].shape[0], *results.shape[1:]).unbind()


def as_streams(inputs: Tensor | Sequence[Tensor | None], num_tasks: int) -> Streams:
    """Return T+1 streams from streams or from one image that all groups read.

    Raises:
        ValueError: If the number of streams is not T+1.
    """
    if isinstance(inputs, Tensor):
        return (inputs,) * (num_tasks + 1)
    if len(inputs) != num_tasks + 1:
        raise ValueError(f"a layer of {num_tasks} tasks reads {num_tasks + 1} streams, got {len(inputs)}")
    return tuple(inputs)


class AddStreams(nn.Module):
    r"""Add two sets of streams, as residual connections do, each channel to its namesake.

    .. math:: y_g[k] = \mathbb{1}[k \in a_g]\, a_g[k] + \mathbb{1}[k \in b_g]\, b_g[k]

    Layers with different allocations carry different channels in a stream. The sum carries the union, in ascending
    order; a channel that one side lacks counts as zero there, which is what the masked network adds.

    Args:
        first: Layout of the first streams.
        second: Layout of the second.
    """

    def __init__(self, first: StreamLayout, second: StreamLayout) -> None:
        super().__init__()
        pairs = list(zip(first.members, second.members, strict=True))
        self.layout = StreamLayout(tuple(own if own == other else _union(own, other) for own, other in pairs))
        self._alignments = nn.ModuleList(
            _Aligned(own, other, union) for (own, other), union in zip(pairs, self.layout.members, strict=True)
        )

    def forward(self, first: Streams, second: Streams) -> Streams:
        """Return the sums, one tensor for all streams whose summands are the same tensors."""
        known: dict[tuple[int, int], Tensor | None] = {}
        for own, other, aligned in zip(first, second, self._alignments, strict=True):
            if (id(own), id(other)) not in known:
                known[id(own), id(other)] = aligned(own, other)
        return tuple(known[id(own), id(other)] for own, other in zip(first, second, strict=True))


class _Aligned(nn.Module):
    """Adds the two tensors of one stream."""

    def __init__(self, first: tuple[int, ...], second: tuple[int, ...], union: tuple[int, ...]) -> None:
        super().__init__()
        self._union, self._members = union, (first, second)
        order = {channel: position for position, channel in enumerate(union)}
        for name, members in (("first", first), ("second", second)):
            positions = torch.tensor([order[channel] for channel in members], dtype=torch.int64)
            self.register_buffer(f"_{name}", positions, persistent=False)

    def forward(self, first: Tensor | None, second: Tensor | None) -> Tensor | None:
        if first is None or second is None:
            return second if first is None else first
        if self._members == (self._union, self._union):
            return first + second
        # A summand with all channels is the start: ONNX optimisers replace, not add, where an index is a full range.
        if self._members[1] == self._union:
            return second.index_add(1, self._first, first)  # type: ignore[arg-type]
        if self._members[0] != self._union:
            zeros = first.new_zeros(first.shape[0], len(self._union), *first.shape[2:])
            first = zeros.index_add(1, self._first, first)  # type: ignore[arg-type]
        return first.index_add(1, self._second, second)  # type: ignore[arg-type]


def _union(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if not first or not second:
        return first or second
    return tuple(sorted({*first, *second}))


class EachStream(nn.Module):
    """Apply a module without channel parameters (pooling, dropout, padding) to every stream."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, streams: Streams) -> Streams:
        """Return the streams, each passed through the module."""
        return map_streams(self.module, streams)
