"""Ordinary blocks between allocatable layers: every stream has one of its own.

A block keeps the channels of its stream: it is a part of the backbone whose filters are not allocated by themselves,
such as a residual block. In the masked network a stream has all channels, of which some speak more softly than others;
a block therefore gets the stream's gate and multiplies by it whatever could make an absent channel speak.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from sfgsearch.nn._groups import FilterGroups
from sfgsearch.nn._norms import copy_channels
from sfgsearch.nn._streams import StreamLayout, Streams


class StreamBlock(nn.Module, ABC):
    """Base of blocks: K channels in, the same K channels out.

    Every convolution in it maps K channels to K channels and every norm treats each of the K channels by itself, so
    that the block of a compact network is the same block with fewer channels.
    """

    @abstractmethod
    def forward(self, stream: Tensor, gate: Tensor | None = None) -> Tensor:
        """Return the new stream.

        Args:
            stream: Shape (B, K, *space).
            gate: Shape (1, K, 1, ..), how much of each channel the stream carries; None where it carries all it has.
                A channel whose gate is zero must come out as zero and must not reach the other channels: multiply
                what is convolved, and what is added to the stream, by the gate.
        """

    @torch.no_grad()
    def load_channels(self, trained: StreamBlock, channels: tuple[int, ...]) -> None:
        """Take over the weights that a trained block of all channels has for some of them."""
        index = torch.tensor(channels)
        for own, wide in zip(self.modules(), trained.modules(), strict=True):
            if isinstance(own, nn.Conv2d | nn.Conv3d) and isinstance(wide, nn.Conv2d | nn.Conv3d):
                at = index.to(wide.weight.device)
                own.weight.copy_(wide.weight[at][:, at])
                if own.bias is not None and wide.bias is not None:
                    own.bias.copy_(wide.bias[at])
            elif [*own.parameters(recurse=False), *own.buffers(recurse=False)]:
                copy_channels(own, wide, channels)


MakeBlock = Callable[[int], StreamBlock]
"""Builds a block of so many channels."""


class GatedBlocks(nn.Module):
    r"""The blocks of a masked network, one per stream, all with every channel.

    The gate of task t's stream is what the layer below lets into it, :math:`z_{kt} + z_{ks}`; that of the shared
    stream is :math:`z_{ks}`.

    Args:
        blocks: T+1 blocks.
        groups: The filter groups of the layer that the streams come from.
    """

    def __init__(self, blocks: Iterable[StreamBlock], groups: FilterGroups) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self._groups = [groups]  # in a list: the layer below owns them

    def forward(self, streams: Streams) -> Streams:
        """Return the streams, each passed through its block."""
        gates = self._groups[0].gates
        shared = gates[:, -1:]
        per_stream = torch.cat([gates[:, :-1] + shared, shared], dim=1).unbind(1)
        return tuple(
            None if stream is None else block(stream, gate.view(1, -1, *[1] * (stream.ndim - 2)))
            for block, stream, gate in zip(self.blocks, streams, per_stream, strict=True)
        )


class AllocatedBlocks(nn.Module):
    """The blocks of a compact network, each as wide as its stream.

    Args:
        source: The channels that each stream carries.
        make: Builds a block.
        separate: Give every stream a block of its own; otherwise streams with the same channels, which are then the
            same tensor, have one together. A compact network that takes over trained weights keeps them apart.
    """

    def __init__(self, source: StreamLayout, make: MakeBlock, *, separate: bool) -> None:
        super().__init__()
        self._members = source.members
        last = len(source.members) - 1
        self._block_of = [
            (last if members == source.members[-1] and not separate else stream) if members else None
            for stream, members in enumerate(source.members)
        ]
        blocks = sorted({stream for stream in self._block_of if stream is not None})
        self.blocks = nn.ModuleDict({str(stream): make(source.num_channels(stream)) for stream in blocks})

    def drop_unread(self, unread: set[str]) -> None:
        """Drop the blocks of streams that nothing reads.

        Args:
            unread: Names of parameters of these blocks that no prediction depends on.
        """
        for name, block in list(self.blocks.items()):
            own = {f"blocks.{name}.{parameter}" for parameter, _ in block.named_parameters()}
            if own and own <= unread:
                del self.blocks[name]
                self._block_of = [None if of == int(name) else of for of in self._block_of]

    def forward(self, streams: Streams) -> Streams:
        """Return the streams, each passed through its block."""
        results = {name: block(streams[int(name)]) for name, block in self.blocks.items()}
        return tuple(None if block is None else results[str(block)] for block in self._block_of)

    def load_trained(self, trained: nn.Module) -> None:
        """Take over the weights of the blocks of a masked network."""
        wide = cast(GatedBlocks, trained)
        for name, block in self.blocks.items():
            cast(StreamBlock, block).load_channels(cast(StreamBlock, wide.blocks[int(name)]), self._members[int(name)])
