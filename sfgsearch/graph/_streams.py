"""The streams' execution: T+1 responses of every filter, as Stochastic Filter Groups were published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph._analysis import Analysis, Layer, Norm
from sfgsearch.graph._masks import readable, with_fixed
from sfgsearch.graph._nodes import call, operation, owner

_MODES = {"batch_norm": 5, "instance_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}
"""Operations that differ in training, with the position of the argument that says so."""

_HAVE_STATISTICS = ("batch_norm", "instance_norm")
"""Of these, those that do not differ without running statistics, their fourth argument."""

Streams = list[Any]
"""The values of one node in all T+1 streams; the same object where streams cannot differ."""


class StreamsNetwork(nn.Module):
    r"""Runs a network's graph in T+1 streams, whose gates act where a layer reads.

    .. math:: x_t[c] = z_{ct}\, a_t[c] + z_{cs}\, a_s[c], \qquad x_s[c] = z_{cs}\, a_s[c]

    with the responses :math:`a_g` of all filters to stream g (Bragman et al., ICCV 2019; there gates act right after
    the activation, here after pools as well). It takes T+1 times the arithmetic of the plain network, and soft gates.
    Norms and dropout follow the modes of their modules; what else differs in training, such as stochastic depth, runs
    as in evaluation.

    Args:
        network: The plain network that was analysed.
        analysis: Its analysis.
        tasks: Names of the tasks, for predictions as a dict; without them they are a tuple.
    """

    def __init__(self, network: nn.Module, analysis: Analysis, tasks: Sequence[str] | None = None) -> None:
        super().__init__()
        self.network, self._analysis, self._tasks = network, analysis, tasks
        self._layers = {layer.weight: layer for layer in analysis.masked}
        self._norms = {norm.weight: norm for norm in analysis.norms}

    def forward(self, images: Tensor, gates: Tensor) -> Any:
        """Return the predictions of all tasks.

        Args:
            images: Shape (B, C, *space).
            gates: Of all filters, shape (F, T+1), soft or one-hot.
        """
        trace = self._analysis.trace
        table = with_fixed(gates, self._analysis.head_gates.to(gates))
        values: dict[fx.Node, Streams] = {
            node: [value] * table.shape[1] for node, value in trace.inputs(self.network, images)
        }
        for node in trace.operations:
            layer, norm = self._reader(node)
            if layer:
                dim = -1 if operation(node) == "linear" else 1
                read = _Reading(table[layer.reads.flatten().to(table.device)], dim)
                source: Any = node.args[0]
                values[node] = _each(node, values, arg0=read(values[source]))
            elif norm:
                values[node] = _normalise(node, norm, values, table)
            else:
                values[node] = _each(node, values, **self._mode(node, table.shape[1]))
            for other in trace.last_uses.get(node, ()):
                del values[other]
        outputs = tuple(values[output][task] for task, output in enumerate(trace.outputs))
        return outputs if self._tasks is None else dict(zip(self._tasks, outputs, strict=True))

    def _mode(self, node: fx.Node, streams: int) -> dict[str, Streams]:
        """Return the argument that says whether the module of a node is in training, in every stream."""
        position = _MODES.get(operation(node))
        if position is None or (operation(node) in _HAVE_STATISTICS and node.args[3] is None):
            return {}
        return {f"arg{position}": [self.network.get_submodule(owner(node)).training] * streams}

    def _reader(self, node: fx.Node) -> tuple[Layer | None, Norm | None]:
        """Return the masked layer or the norm over channels that a node runs."""
        weights = [self._analysis.trace.state.get(other.name, "") for other in node.all_input_nodes]
        layer = next((self._layers[name] for name in weights if name in self._layers), None)
        return layer, next((self._norms[name] for name in weights if name in self._norms), None)


class _Reading:
    """What a layer or norm reads of its input's channels in each stream.

    Args:
        gates: Of the channels, shape (C, T+1); zeros for channels that every group may read.
        dim: The dimension of the channels.
    """

    def __init__(self, gates: Tensor, dim: int) -> None:
        self._shared, self._dim = gates[:, -1], dim
        is_common = (gates == 0).all(1, keepdim=True)
        self._own = torch.where(is_common, torch.ones_like(gates), gates)

    def __call__(self, responses: Streams) -> Streams:
        """Return the streams from the full-width responses to each."""
        shape = [1] * responses[0].ndim
        shape[self._dim] = -1
        own = [response * gate.view(shape) for response, gate in zip(responses, self._own.unbind(1), strict=True)]
        shared = responses[-1] * self._shared.view(shape)
        return [*(stream + shared for stream in own[:-1]), own[-1]]


def _each(node: fx.Node, values: dict[fx.Node, Streams], **replaced: Streams) -> Streams:
    """Run a node in every stream, once where all that it reads is the same object."""
    known: dict[tuple[int, ...], Any] = {}
    results = []
    for stream in range(len(next(iter(values.values())))):
        own = {other: values[other][stream] for other in node.all_input_nodes}
        arguments = {name: of_streams[stream] for name, of_streams in replaced.items()}
        key = tuple(map(id, (*own.values(), *arguments.values())))
        if key not in known:
            known[key] = call(node, own, **arguments)
        results.append(known[key])
    return results


def _normalise(node: fx.Node, norm: Norm, values: dict[fx.Node, Streams], table: Tensor) -> Streams:
    """Normalise the responses of every stream over the channels that it carries."""
    is_layer = operation(node) == "layer_norm"
    rows, dim = norm.rows.to(table.device), -1 if is_layer else 1
    gates, carried = table[rows], readable(table)[rows]
    source: Any = node.args[0]
    responses, read = [_precise(response) for response in values[source]], _Reading(gates, dim)
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
