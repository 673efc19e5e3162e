"""The streams' execution: T+1 responses of every filter, as Stochastic Filter Groups were published."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph._analysis import Analysis, Layer, Norm
from sfgsearch.graph._lockstep import each_copy
from sfgsearch.graph._masks import hard_gates, readable, with_fixed
from sfgsearch.graph._nodes import mode_of, operation, owner, owners
from sfgsearch.graph._patterns import FeatureMap

_BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

Streams = list[Any]
"""The values of one node in all T+1 streams; the same object where streams cannot differ."""


class StreamsNetwork(nn.Module):
    r"""Runs a network's graph in T+1 streams, whose gates act where a layer reads.

    .. math:: x_t[c] = z_{ct}\, a_t[c] + z_{cs}\, a_s[c], \qquad x_s[c] = z_{cs}\, a_s[c]

    with the responses :math:`a_g` of all filters to stream g (Bragman et al., ICCV 2019; there gates act right after
    the activation, here after pools as well). It takes T+1 times the arithmetic of the plain network, and soft gates.
    Where parts are run per stream, batch norms have running statistics of every stream. Norms and dropout follow the
    modes of their modules; what else differs in training, such as stochastic depth, runs
    as in evaluation.

    Args:
        network: The plain network that was analysed. Its own parts per stream are those of the shared stream; those of
            the tasks begin as copies.
        analysis: Its analysis.
        tasks: Names of the tasks, for predictions as a dict; without them they are a tuple.
    """

    _head_gates: Tensor

    def __init__(self, network: nn.Module, analysis: Analysis, tasks: Sequence[str] | None = None) -> None:
        super().__init__()
        self.network, self._analysis, self._tasks = network, analysis, tasks
        self._readers = {node.name: analysis.reader(node) for node in analysis.trace.operations}
        self.register_buffer("_head_gates", analysis.head_gates, persistent=False)
        self.own_parts = nn.ModuleList(
            nn.ModuleList(copy.deepcopy(network.get_submodule(part.path)) for _ in range(analysis.num_tasks))
            for part in analysis.parts
        )
        self._norms = _batch_norms(network, analysis) if analysis.parts else {}
        inside = tuple(f"{part.path}." for part in analysis.parts)
        self._outside = [path for path in dict.fromkeys(self._norms.values()) if not path.startswith(inside)]
        self.own_norms = nn.ModuleList(
            nn.ModuleList(_with_own_statistics(network.get_submodule(path)) for _ in range(analysis.num_tasks))
            for path in self._outside
        )

    def train(self, mode: bool = True) -> StreamsNetwork:
        """Set the mode of all parts; the tasks' copies take those of the network's own, which may be frozen."""
        super().train(mode)
        paths = [part.path for part in self._analysis.parts] + self._outside
        for path, copies in zip(paths, (*self.own_parts, *self.own_norms), strict=True):
            modes = [module.training for module in self.network.get_submodule(path).modules()]
            for copied in cast("Iterable[nn.Module]", copies):
                for module, own_mode in zip(copied.modules(), modes, strict=True):
                    module.training = own_mode
        return self

    @property
    def num_tasks(self) -> int:
        """T."""
        return self._analysis.num_tasks

    def forward(self, images: Tensor, gates: Tensor) -> Any:
        """Return the predictions of all tasks.

        Args:
            images: Shape (B, C, *space).
            gates: Of all filters, shape (F, T+1), soft or one-hot.
        """
        outputs = self._analysis.trace.outputs
        found = {node: streams for node, streams in self._run(images, self._table(gates)) if node in outputs}
        predictions = tuple(found[output][task] for task, output in enumerate(outputs))
        return predictions if self._tasks is None else dict(zip(self._tasks, predictions, strict=True))

    def feature_maps(self, images: Tensor, gates: Tensor, features: Iterable[FeatureMap]) -> dict[str, Tensor]:
        """Return what the streams carry of channel spaces.

        Args:
            images: Shape (B, C, *space).
            gates: Of all filters, shape (F, T+1), soft or one-hot.
            features: Where the features are.

        Returns:
            By the names of channel spaces, shape (B, T+1, K, *space).
        """
        by_node: dict[fx.Node, list[FeatureMap]] = {}
        for feature in features:
            by_node.setdefault(feature.node, []).append(feature)
        found, table = dict[str, Tensor](), self._table(gates)
        for node, responses in self._run(images, table):
            for feature in by_node.pop(node, ()):
                channels = feature.channels.to(table.device)
                own = [response.index_select(feature.dim, channels) for response in responses]
                rows = torch.arange(feature.space.rows.start, feature.space.rows.stop)
                carried = _Reading(table, rows, feature.dim)(own)
                found[feature.space.name] = torch.stack([stream.movedim(feature.dim, 1) for stream in carried], 1)
            if not by_node:
                break
        return found

    def _table(self, gates: Tensor) -> Tensor:
        return with_fixed(gates, self._head_gates)

    def _run(self, images: Tensor, table: Tensor) -> Iterator[tuple[fx.Node, Streams]]:
        """Yield the responses of every operation to the streams, in the order in which they run."""
        trace = self._analysis.trace
        streams = range(table.shape[1])
        values: dict[fx.Node, Streams] = {
            node: self._copies(node, value) for node, value in trace.inputs(self.network, images)
        }
        parts = {part.path: part for part in self._analysis.parts}
        carried: dict[str, Streams] = {}
        for node in trace.operations:
            part = next((parts[path] for path in owners(node) if path in parts), None) if parts else None
            reader = self._readers[node.name]
            own = values
            if part:
                if part.path not in carried:
                    carried[part.path] = _Reading(table, part.reads, 1)(values[part.source])
                own = {**values, part.source: carried[part.path]}
            elif isinstance(reader, Layer):
                source = cast(fx.Node, node.args[0])
                read = _Reading(table, reader.reads.flatten(), reader.dim)
                own = {**values, source: read(values[source])}
            if isinstance(reader, Norm):
                values[node] = _normalise(node, reader, values, table)
            elif node.name in self._norms:
                norms = self._copies_of(self._norms[node.name])
                values[node] = [norm(x) for norm, x in zip(norms, own[cast(fx.Node, node.args[0])], strict=True)]
            else:
                values[node] = list(each_copy(node, own, streams, **mode_of(node, self.network)).values())
            yield node, values[node]
            for other in trace.last_uses.get(node, ()):
                del values[other]

    def _copies(self, node: fx.Node, value: Tensor) -> Streams:
        """Return what a placeholder stands for in every stream."""
        path, _, name = self._analysis.trace.state.get(node.name, "").rpartition(".")
        if not any(f"{path}.".startswith(f"{part.path}.") for part in self._analysis.parts):
            return [value] * (self._analysis.num_tasks + 1)
        return [getattr(copied, name) for copied in self._copies_of(path)]

    def _copies_of(self, path: str) -> list[nn.Module]:
        """Return the module of every stream for a batch norm, or for a module in a part that is run per stream."""
        last = self.network.get_submodule(path)
        for part, own in zip(self._analysis.parts, self.own_parts, strict=True):
            if f"{path}.".startswith(f"{part.path}."):
                inner = path.removeprefix(part.path).removeprefix(".")
                return [*(copied.get_submodule(inner) for copied in own.children()), last]
        return [*self.own_norms[self._outside.index(path)].children(), last]


def _batch_norms(network: nn.Module, analysis: Analysis) -> dict[str, str]:
    """Return the paths of batch norms by the nodes that run them."""
    found = {node.name: owner(node) for node in analysis.trace.operations if operation(node) == "batch_norm"}
    return {name: path for name, path in found.items() if isinstance(network.get_submodule(path), _BATCH_NORMS)}


def _with_own_statistics(norm: nn.Module) -> nn.Module:
    """Return a copy of a norm that has running statistics of its own, and the same parameters."""
    return copy.deepcopy(norm, {id(parameter): parameter for parameter in norm.parameters()})


class FixedStreams(nn.Module):
    """A network in streams under an assignment that stands still.

    Args:
        streams: The network.
        assignment: Group of every filter, int64 of shape (F,).
    """

    _gates: Tensor

    def __init__(self, streams: StreamsNetwork, assignment: Tensor) -> None:
        super().__init__()
        self.streams = streams
        weight = next(streams.parameters())
        gates = hard_gates(assignment.to(weight.device), streams.num_tasks)
        self.register_buffer("_gates", gates.to(weight.dtype), persistent=False)

    @property
    def network(self) -> nn.Module:
        """The plain network."""
        return self.streams.network

    def forward(self, images: Tensor) -> Any:
        """Return the predictions of all tasks for images of shape (B, C, *space)."""
        return self.streams(images, self._gates)


class _Reading:
    """Mixes responses into what a layer or norm reads of its input's channels in each stream.

    Args:
        table: The table of gates, shape (rows, T+1).
        rows: Rows of the channels, shape (C,); 0 for channels that every group may read.
        dim: The dimension of the channels.
    """

    def __init__(self, table: Tensor, rows: Tensor, dim: int) -> None:
        rows = rows.to(table.device)
        gates = table[rows]
        self._shared, self._dim = gates[:, -1], dim
        self._own = torch.where((rows == 0)[:, None], torch.ones_like(gates), gates)

    def __call__(self, responses: Streams) -> Streams:
        """Return the streams from the full-width responses to each."""
        shape = [1] * responses[0].ndim
        shape[self._dim] = -1
        own = [response * gate.view(shape) for response, gate in zip(responses, self._own.unbind(1), strict=True)]
        shared = responses[-1] * self._shared.view(shape)
        return [*(stream + shared for stream in own[:-1]), own[-1]]


def _normalise(node: fx.Node, norm: Norm, values: dict[fx.Node, Streams], table: Tensor) -> Streams:
    """Normalise the responses of every stream over the channels that it carries."""
    is_layer = operation(node) == "layer_norm"
    rows, dim = norm.rows.to(table.device), -1 if is_layer else 1
    carried = readable(table)[rows]
    source: Any = node.args[0]
    responses, read = [_precise(response) for response in values[source]], _Reading(table, rows, dim)
    shape = [1] * responses[0].ndim
    shape[dim] = -1
    affine = [values[argument][0].view(shape) for argument in node.args[2:4] if isinstance(argument, fx.Node)]
    scale, offset = (*affine, torch.zeros_like(affine[0]))[:2]
    eps: Any = node.args[4] if len(node.args) > 4 else 1e-5
    results = []
    moments = zip(responses, read(responses), read([response.square() for response in responses]), strict=True)
    for stream, (response, value, square) in enumerate(moments):
        total = carried[:, stream].view(norm.groups, -1).sum(1)
        mean, second = (_average(part, dim, norm.groups, total) for part in (value, square))
        variance = (second - mean.square()).clamp_min(0)
        results.append((response - mean) * (variance + eps).rsqrt() * scale + offset)
    return results


def _precise(response: Tensor) -> Tensor:
    """Return a tensor in float32 at least, as which torch normalises under autocast."""
    return response if response.dtype == torch.float64 else response.float()


def _average(read: Tensor, dim: int, groups: int, total: Tensor) -> Tensor:
    """Return the mean over what a stream carries, for every channel that of its block; the shape of the input."""
    parts = torch.unflatten(read.movedim(dim, 1), 1, (groups, -1))  # (B, groups, channels, ...)
    dims = [2] if dim == -1 else list(range(2, parts.ndim))
    size = parts[0, 0, 0].numel() if dim != -1 else 1
    weights = total.clamp_min(torch.finfo(read.dtype).tiny).view(-1, *[1] * (parts.ndim - 2))
    mean: Tensor = parts.sum(dims, keepdim=True) / weights / size
    return mean.expand_as(parts).flatten(1, 2).movedim(1, dim)
