"""The analysis of a network: its filters, its channel spaces, and what every weight reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._layers import FoundLayer
from sfgsearch.graph._nodes import operation
from sfgsearch.graph._propagation import Propagation, StreamPart
from sfgsearch.graph._trace import Trace, trace

_LARGE_TIE = 8
"""From how many channels per filter on an analysis speaks of the tie."""

BACKBONE = "backbone"
"""The path of the part that is common to all tasks, which names of channel spaces leave out."""


@dataclass(frozen=True)
class Layer:
    """A weight under a mask.

    Args:
        weight: The parameter's name.
        writes: Rows of the table of gates that it writes, int64 of shape (G, K / G) for G convolution groups.
        reads: Rows that it reads, shape (G, C / G); 0 where every group may read.
        transposed: Whether the weight's first dimension is what it reads.
        node: The first operation with it.
    """

    weight: str
    writes: Tensor
    reads: Tensor
    transposed: bool
    node: fx.Node

    def __deepcopy__(self, memo: dict[int, object]) -> Layer:
        """Return itself: it never changes, and its node is linked to all others."""
        return self

    @property
    def is_masked(self) -> bool:
        """Whether the mask can be anything but ones: not of depthwise layers, nor of those that read the image only."""
        per_channel = self.reads.shape == self.writes.shape and bool((self.reads == self.writes).all())
        return bool(self.reads.any()) and not (self.reads.shape[1] == 1 and (per_channel or len(self.reads) > 1))

    @property
    def dim(self) -> int:
        """The dimension of the channels in what it reads: the last one of linear layers, the second of convolutions."""
        return -1 if operation(self.node) == "linear" else 1

    @property
    def module(self) -> str:
        """The path of the module that has the weight."""
        return self.weight.rpartition(".")[0]


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
    def _by_weight(self) -> dict[str, Layer | Norm]:
        return {**{layer.weight: layer for layer in self.masked}, **{norm.weight: norm for norm in self.norms}}

    def reader(self, node: fx.Node) -> Layer | Norm | None:
        """Return the masked layer, or the norm over several channels, whose weight an operation reads."""
        names = (self.trace.state.get(other.name, "") for other in node.all_input_nodes)
        return next((self._by_weight[name] for name in names if name in self._by_weight), None)

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


def analyse(
    network: nn.Module,
    example: Tensor,
    tasks: Sequence[str] | None = None,
    *,
    any_size: bool = False,
    per_stream: bool = True,
) -> Analysis:
    """Find a network's filters, channel spaces, and what every weight reads and writes.

    A filter is a class of channels that operations such as additions tie: they must be in one group. Filters that only
    one task's prediction depends on, such as those of its head, are that task's.

    Args:
        network: Maps images (B, C, *space) to one prediction (B, ...) per task, by name or in a sequence.
        example: At least two images of the size that it is for, on the network's device.
        tasks: Names of the tasks in order, where predictions have names.
        any_size: Whether the graph should fit images of other sizes, too, if it can.
        per_stream: Whether parts in a :class:`PerStream` are every stream's own, instead of the plain network's.

    Raises:
        BackboneError: If the network cannot be traced, has an operation that filters cannot be followed through, or
            one task's prediction reaches that of another; or if nothing is left to allocate.
    """
    found = trace(network, example, tasks, any_size=any_size)
    run = Propagation(found, network, example, per_stream)
    reach = _reach(found)
    return _Table(run, _fixed_classes(run, reach), len(found.outputs)).analysis()


def _reach(found: Trace) -> dict[fx.Node, frozenset[int]]:
    """Return for every node the tasks whose predictions depend on it."""
    reach: dict[fx.Node, set[int]] = {node: set() for node in found.nodes}
    for task, output in enumerate(found.outputs):
        reach[output].add(task)
    for node in reversed(found.nodes[:-1]):
        for user in node.users:
            if user.op != "output":
                reach[node] |= reach[user]
    return {node: frozenset(tasks) for node, tasks in reach.items()}


def _fixed_classes(run: Propagation, reach: Mapping[fx.Node, frozenset[int]]) -> dict[int, int]:
    """Return the classes of filters that are one task's, with the task."""
    find = run.ids.find
    reached: dict[int, set[int]] = {}
    for layer in run.layers.values():
        for identity in torch.unique(layer.writes).long().tolist():
            reached.setdefault(find(identity), set()).update(reach[layer.node])
    num_tasks = len(run.outputs)
    fixed = {root: min(tasks) for root, tasks in reached.items() if len(tasks) == 1 and num_tasks > 1}
    for task, shadow in enumerate(run.outputs):
        if shadow is None or not shadow.any():
            raise BackboneError(f"the prediction of task {task} (counted from 0) does not depend on any filter")
        for identity in torch.unique(shadow).long().tolist():
            root = find(identity)
            if identity and reached.get(root, {task}) != {task}:
                raise BackboneError(
                    f"the prediction of task {task} (counted from 0) is also read by, or added to, that of another "
                    "task; give every task a last layer of its own"
                )
            if identity:
                fixed[root] = task
    return fixed


class _Table:
    """Rows of the table of gates, from the classes of a propagation."""

    def __init__(self, run: Propagation, fixed: Mapping[int, int], num_tasks: int) -> None:
        self._run, self._fixed, self._num_tasks = run, fixed, num_tasks
        self._roots = torch.tensor([run.ids.find(identity) for identity in range(len(run.ids))])
        writers = self._writers()
        spaces: dict[tuple[str, ...], list[int]] = {}
        for root, names in writers.items():
            if root not in fixed:
                spaces.setdefault(names, []).append(root)
        if not spaces:
            raise BackboneError("the network has no filters that several tasks could share: nothing to allocate")
        self._spaces = spaces
        order = [root for roots in spaces.values() for root in roots] + list(fixed)
        self._rows = torch.zeros(len(run.ids), dtype=torch.int64)
        by_root = torch.zeros(len(run.ids), dtype=torch.int64)
        by_root[torch.tensor(order)] = torch.arange(1, len(order) + 1)
        self._rows = by_root[self._roots]

    def _writers(self) -> dict[int, tuple[str, ...]]:
        """Return for every class the weights that write it, in the order in which they run; classes by first writer."""
        writers: dict[int, list[str]] = {}
        for name, layer in self._run.layers.items():
            for root in dict.fromkeys(self._roots[layer.writes.flatten().long()].tolist()):
                writers.setdefault(root, []).append(name)
        return {root: tuple(names) for root, names in writers.items()}

    def rows(self, shadow: Tensor) -> Tensor:
        """Return the rows of ids."""
        return self._rows[shadow.long()]

    def analysis(self) -> Analysis:
        """Return the whole."""
        layers = tuple(map(self._layer, self._run.layers.values()))
        norms = tuple(Norm(norm.weight, self.rows(norm.column), norm.groups) for norm in self._run.norms.values())
        return Analysis(
            self._run.trace,
            self._num_tasks,
            self._channel_spaces({layer.weight: layer for layer in layers}),
            tuple(self._fixed.values()),
            layers,
            norms,
            tuple(StreamPart(path, source, self.rows(ids)) for path, (source, ids) in self._run.parts.items()),
        )

    def _layer(self, layer: FoundLayer) -> Layer:
        return Layer(layer.weight, self.rows(layer.writes), self.rows(layer.reads), layer.transposed, layer.node)

    def _channel_spaces(self, layers: Mapping[str, Layer]) -> tuple[ChannelSpace, ...]:
        found: list[ChannelSpace] = []
        first = 1
        ties: dict[int, Counter[str]] = {}
        for identity, why in self._run.ids.ties:
            ties.setdefault(int(self._rows[identity]), Counter())[why] += 1
        for names, roots in self._spaces.items():
            taken = [space.name for space in found]
            written = layers[names[0]].writes.flatten()
            channels = int(((written >= first) & (written < first + len(roots))).sum())
            tied = sum((ties.get(row, Counter()) for row in range(first, first + len(roots))), Counter[str]())
            tied_by = tied.most_common(1)[0][0] if tied else ""
            found.append(ChannelSpace(_name(names, taken), first, len(roots), names, channels, tied_by))
            first += len(roots)
        return tuple(found)


def _name(weights: Sequence[str], taken: Sequence[str]) -> str:
    """Return the path of the first module whose name is not taken yet, or that of the first one with a number."""
    paths = [(weight.rpartition(".")[0] or weight).removeprefix(f"{BACKBONE}.") for weight in weights]
    free = [path for path in paths if path not in taken]
    if free:
        return free[0]
    return next(name for number in range(2, len(taken) + 3) if (name := f"{paths[0]}/{number}") not in taken)
