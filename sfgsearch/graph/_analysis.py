"""The analysis of a network: its filters, its channel spaces, and what every weight reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph._nodes import operation, owner
from sfgsearch.graph._propagation import StreamPart
from sfgsearch.graph._trace import Trace

_LARGE_TIE = 8
"""Channels per filter from which on :meth:`Analysis.notes` reports the tie."""

BACKBONE = "backbone"
"""The path of the part that is common to all tasks."""
TRUNK = "trunk"
"""The path of a network that a backbone wraps."""


def name_in_backbone(path: str) -> str:
    """Return the path of a module or parameter as the backbone's own code has it."""
    return path.removeprefix(f"{BACKBONE}.").removeprefix(f"{TRUNK}.")


@dataclass(frozen=True)
class Layer:
    """A weight under a mask.

    Args:
        weight: The parameter's name.
        writes: Rows of the table of gates that it writes, int64 of shape (G, K / G) for G convolution groups.
        reads: Rows that it reads, shape (G, C / G); 0 where every group may read.
        transposed: Whether the weight's first dimension is what it reads.
        nodes: The operations with it, in the order in which they run.
        chain: What computes its kernel from the weight; empty where the weight is the kernel.
    """

    weight: str
    writes: Tensor
    reads: Tensor
    transposed: bool
    nodes: tuple[fx.Node, ...]
    chain: tuple[fx.Node, ...] = ()

    def __deepcopy__(self, memo: dict[int, object]) -> Layer:
        """Return itself: it never changes, and its node is linked to all others."""
        return self

    @property
    def is_masked(self) -> bool:
        """Whether the mask can be anything but ones: not of depthwise layers, nor of those that read the image only."""
        per_channel = self.reads.shape == self.writes.shape and bool((self.reads == self.writes).all())
        return bool(self.reads.any()) and not (self.reads.shape[1] == 1 and (per_channel or len(self.reads) > 1))

    @property
    def node(self) -> fx.Node:
        """The first operation with it."""
        return self.nodes[0]

    @property
    def dim(self) -> int:
        """The dimension of the channels in what it reads: the last one of linear layers, the second of convolutions."""
        return -1 if operation(self.node) == "linear" else 1

    @property
    def module(self) -> str:
        """The path of the module that has the weight, or that computes the kernel and reads it."""
        return owner(self.node) if self.chain else self.weight.rpartition(".")[0]


@dataclass(frozen=True)
class Norm:
    """A norm over several channels, which in a network of groups covers the channels that a group reads.

    Args:
        weight: Name of its scale.
        rows: Row of the table of gates of every channel, shape (C,).
        groups: Groups of channels that are normalised apart; 1 for a layer norm.
    """

    weight: str
    rows: Tensor
    groups: int


@dataclass(frozen=True)
class ChannelSpace:
    """Filters that the same layers write, so that they can stand for each other before training.

    Args:
        name: Path of the first layer that writes them.
        first: Row of the first one in the table of gates; the others follow.
        num_filters: K.
        layers: The names of all weights that write them.
        channels: Channels that they are in the first of these layers, more than filters where some are tied.
        tied_by: The operation that has tied most of them, in words; empty if none has.
    """

    name: str
    first: int
    num_filters: int
    layers: tuple[str, ...]
    channels: int
    tied_by: str

    @property
    def rows(self) -> slice:
        """Rows of the table of gates."""
        return slice(self.first, self.first + self.num_filters)


@dataclass(frozen=True)
class Analysis:
    """Filters, channel spaces and masked weights of a network: all that can be allocated.

    The table of gates has a row for every filter: row 0 for what every group may read, such as the image, then the
    filters of the channel spaces in depth order, then those of the tasks' heads, which are fixed.

    Args:
        trace: The network's graph.
        num_tasks: T, the number of its outputs.
        spaces: The channel spaces, in depth order.
        heads: For every filter that is fixed, the task that it is fixed to.
        layers: All weights that write filters, in the order in which they run.
        norms: Norms over several channels.
        parts: Parts that every stream has of its own.
    """

    trace: Trace
    num_tasks: int
    spaces: tuple[ChannelSpace, ...]
    heads: tuple[int, ...]
    layers: tuple[Layer, ...]
    norms: tuple[Norm, ...]
    parts: tuple[StreamPart, ...] = ()

    def __deepcopy__(self, memo: dict[int, object]) -> Analysis:
        """Return itself: it never changes, and networks that are copied keep it."""
        return self

    @property
    def num_filters(self) -> int:
        """Filters that are allocated, those of all channel spaces."""
        return sum(space.num_filters for space in self.spaces)

    @cached_property
    def filters(self) -> dict[str, int]:
        """Filters of every channel space by name, in depth order."""
        return {space.name: space.num_filters for space in self.spaces}

    @cached_property
    def head_gates(self) -> Tensor:
        """Gates of the heads' filters, one-hot of shape (filters of heads, T+1)."""
        return nn.functional.one_hot(torch.tensor(self.heads, dtype=torch.int64), self.num_tasks + 1)

    def groups_by_row(self, assignment: Tensor) -> Tensor:
        """Return the group of every row of the table of gates, -1 for row 0, from those of the allocated filters."""
        return torch.cat([torch.tensor([-1]), assignment.cpu(), torch.tensor(self.heads, dtype=torch.int64)])

    @property
    def masked(self) -> tuple[Layer, ...]:
        """The layers whose weights are masked."""
        return tuple(layer for layer in self.layers if layer.is_masked)

    @cached_property
    def _by_node(self) -> dict[fx.Node, Layer]:
        return {node: layer for layer in self.masked for node in layer.nodes}

    @cached_property
    def _norms(self) -> dict[str, Norm]:
        return {norm.weight: norm for norm in self.norms}

    def reader(self, node: fx.Node) -> Layer | Norm | None:
        """Return the masked layer that an operation runs, or the norm over several channels whose scale it reads."""
        names = (self.trace.state.get(other.name, "") for other in node.all_input_nodes)
        return self._by_node.get(node) or next((self._norms[name] for name in names if name in self._norms), None)

    @cached_property
    def readers(self) -> dict[str, Layer]:
        """The layers that combine filters of channel spaces, by the name of every node that runs one.

        Depthwise layers do not combine: what reads their channels reads the filters below them.
        """
        found = {node.name: self.reader(node) for node in self.trace.operations}
        return {name: layer for name, layer in found.items() if isinstance(layer, Layer) and self._combines(layer)}

    def _combines(self, layer: Layer) -> bool:
        is_allocated = (layer.reads > 0) & (layer.reads <= self.num_filters)
        return layer.is_masked and bool(is_allocated.any())

    def notes(self) -> list[str]:
        """Return sentences about channels that are one filter since operations tie them."""
        found = []
        for space in self.spaces:
            if space.channels >= _LARGE_TIE * space.num_filters:
                one = "one filter" if space.num_filters == 1 else f"{space.num_filters} filters"
                found.append(f"{space.name}: {space.channels} channels are {one}, tied by {space.tied_by}")
        return found
