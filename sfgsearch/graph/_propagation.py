"""Propagation of filter ids through a network's graph: one run on shadows."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._ids import FilterIds, spread
from sfgsearch.graph._kernels import Kernel, computed_kernels
from sfgsearch.graph._layers import FoundLayer, FoundNorm, no_parameter
from sfgsearch.graph._nodes import call, operation, origin, owners
from sfgsearch.graph._rules import CONSTANT, CONVOLUTIONS, Shadow, find_rule
from sfgsearch.graph._trace import Trace


class PerStream(nn.Module):
    """A part of a network that every stream has a copy of, and in which all channels of a stream mix.

    It reads what a stream carries and gives the stream other features, of which nothing is any filter's: the layers
    above read them whole. Ordinary residual blocks between allocated convolutions are such a part (Bragman et al., ICCV
    2019). The network then runs in the streams' execution alone; in the plain network the part runs once.

    Args:
        part: Maps features (B, K, *space) to features (B, K', *space).
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """Return what the part returns."""
        features: Tensor = self.part(x)
        return features


@dataclass(frozen=True)
class StreamPart:
    """The part of a network's graph that a :class:`PerStream` runs.

    Args:
        path: Path of the :class:`PerStream`.
        source: The operation whose value it reads.
        reads: Rows of the table of gates that it reads, int64 of shape (K,).
    """

    path: str
    source: fx.Node
    reads: Tensor


@dataclass
class Propagation:
    """A run of a network's graph on shadows.

    Args:
        trace: The graph.
        module: The network.
        images: Shape (B, C, *space).
        per_stream: Whether to leave parts apart that every stream has of its own.

    Attributes:
        ids: All filters, and which are tied.
        layers: The weights that write filters, by name, in the order in which they run.
        norms: Norms over channels by the names of their scales.
        parts: By path, the node that every :class:`PerStream` reads, with the ids of its channels.
        outputs: The shadows of the predictions.
        values: Values of the nodes that are still to be read.
        shadows: Their shadows.
        parameters: The names of parameters by placeholder.
        kernels: Kernels that are computed from parameters, by node.
        learned: Nodes that parameters alone determine.
    """

    trace: Trace
    module: nn.Module
    images: Tensor
    per_stream: bool = True
    ids: FilterIds = field(default_factory=FilterIds)
    layers: dict[str, FoundLayer] = field(default_factory=dict)
    norms: dict[str, FoundNorm] = field(default_factory=dict)
    parts: dict[str, tuple[fx.Node, Tensor]] = field(default_factory=dict)
    outputs: list[Shadow] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Run the graph."""
        self.values: dict[fx.Node, Any] = dict(self.trace.inputs(self.module, self.images))
        self.shadows: dict[fx.Node, Shadow] = {
            node: torch.zeros(value.shape, dtype=torch.float64) if value is self.images else None
            for node, value in self.values.items()
        }
        self._part_paths = {
            name for name, part in self.module.named_modules() if self.per_stream and isinstance(part, PerStream)
        }
        parameters = dict(self.module.named_parameters())
        names = {node: self.trace.state.get(node.name, "") for node in self.values}
        self.parameters = {node: name for node, name in names.items() if name in parameters}
        self.learned = set(self.parameters)
        self.kernels = computed_kernels(self.trace, self.parameters)
        self._chained = {node: kernel for kernel in self.kernels.values() for node in kernel.chain}
        for source in {kernel.source for kernel in self.kernels.values()}:
            shape = self.values[source].shape
            self.shadows[source] = spread(self.ids.fresh(shape[0]), 0, shape)
        for node in self.trace.operations:
            self._run(node)
            for other in self.trace.last_uses.get(node, ()):
                del self.values[other], self.shadows[other]
        self.outputs = [self.shadows[output] for output in self.trace.outputs]
        self._check_uses()

    def _run(self, node: fx.Node) -> None:
        name = operation(node)
        inputs = [self.shadows[other] for other in node.all_input_nodes]
        self.values[node] = value = call(node, self.values)
        if not self.learned.isdisjoint(node.all_input_nodes) and all(shadow is None for shadow in inputs):
            self.learned.add(node)
        if part := next((path for path in owners(node) if path in self._part_paths), None):
            self._note_part(part, node)
            self.shadows[node] = torch.zeros(value.shape, dtype=torch.float64) if isinstance(value, Tensor) else None
            return
        if node.target is operator.getitem:
            source: Any = node.args[0]
            whole = self.shadows[source]
            self.shadows[node] = None if whole is None else whole[node.args[1]]
            return
        is_layer = name in CONVOLUTIONS or name == "linear"
        if not is_layer and (name in CONSTANT or all(shadow is None for shadow in inputs)):
            self.shadows[node] = None
            return
        rule = find_rule(name)
        if rule is None and self._reads_only_images(node, value):
            self.shadows[node] = torch.zeros(value.shape, dtype=torch.float64)
            return
        if rule is None and node in self._chained:
            raise no_parameter(self._reader_of(self._chained[node]))
        if rule is None:
            raise BackboneError(
                f"filters cannot be followed through {origin(node)}; write that part with convolutions, linear layers, "
                "norms, pools and elementwise functions"
            )
        shadow = rule(self, node, value)
        if isinstance(shadow, Tensor) and shadow.shape != value.shape:
            shadow = shadow.expand(value.shape).clone()
        self.shadows[node] = shadow

    def _reader_of(self, kernel: Kernel) -> fx.Node:
        """Return the layer that reads a computed kernel."""
        return next(user for user in kernel.chain[-1].users if user not in kernel.chain)

    def _note_part(self, path: str, node: fx.Node) -> None:
        """Note what a part reads that every stream has of its own."""
        for other in node.all_input_nodes:
            shadow = self.shadows[other]
            if shadow is not None and path not in owners(other):
                source, _ = self.parts.setdefault(path, (other, self.ids.column(shadow, 1, origin(node))))
                if source is not other:
                    raise BackboneError(f"{path} is run per stream, but reads more than one thing; give it one input")

    def _reads_only_images(self, node: fx.Node, value: Any) -> bool:
        """Return whether what an operation computes depends on no filter and no parameter."""
        shadows = [self.shadows[other] for other in node.all_input_nodes]
        has_filters = any(shadow is not None and bool(shadow.any()) for shadow in shadows)
        return isinstance(value, Tensor) and not has_filters and not self.parameters.keys() & set(node.all_input_nodes)

    def _check_uses(self) -> None:
        """Check that weights under a mask, and scales of norms by group, are read as such only."""
        known = {name: [*found.nodes] for table in (self.layers, self.norms) for name, found in table.items()}
        for name, layer in self.layers.items():
            known[name] += layer.chain
        for node, name in self.parameters.items():
            others = [user for user in node.users if user not in known.get(name, node.users)]
            if others:
                raise BackboneError(
                    f"{origin(others[0])} reads {name} otherwise than the layer that has it; give it one of its own"
                )

    def of(self, argument: Any) -> Tensor:
        """Return the shadow of an argument that is a tensor, zeros where nothing comes from a filter."""
        shadow = self.shadows[argument]
        if shadow is None:
            return torch.zeros(self.values[argument].shape, dtype=torch.float64)
        found: Tensor = shadow
        return found
