"""Following filters through a network's graph: one run on shadows.

Operations fall into few families. Those that only move numbers (reshaping, slicing, concatenation, padding) run on the
shadow itself. Those that treat channels by themselves pass a column of ids. Those that combine numbers tie the ids
that they combine. Convolutions and linear layers read ids and write new ones. Anything else is refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._ids import FilterIds, spread
from sfgsearch.graph._nodes import call, nodes_in, operation, place
from sfgsearch.graph._trace import Trace


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOVES = _names(
    """
    view reshape _unsafe_view permute transpose t slice select cat concat stack split split_with_sizes chunk unbind
    expand expand_as repeat tile flip roll pixel_shuffle pixel_unshuffle channel_shuffle unsqueeze squeeze flatten
    unflatten contiguous clone detach alias upsample_nearest1d upsample_nearest2d upsample_nearest3d reshape_as
    view_as unfold movedim narrow index_select index repeat_interleave reflection_pad1d reflection_pad2d
    reflection_pad3d replication_pad1d replication_pad2d replication_pad3d numpy_T swapaxes mT tensor_split im2col
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    """
)
_BY_VALUE = _names("index index_select repeat_interleave")
"""Movements whose other arguments say which numbers are moved, and so must not come from filters."""
_SAME = _names("dropout feature_dropout alpha_dropout prelu to _to_copy type_as float double half softplus")
_CONSTANT = _names(
    """
    sym_size size zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty shape numel dim
    """
)
_NORMS = _names("batch_norm instance_norm layer_norm group_norm")
_CHANNELWISE = _names(
    """
    batch_norm instance_norm max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample_linear1d upsample_bilinear2d
    upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    """
)
_REDUCTIONS = _names("mean sum amax amin var std var_mean std_mean max min linalg_vector_norm norm logsumexp")
_CONVOLUTIONS = _names("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
_PADS = _names("constant_pad_nd pad")

Shadow = Any
"""The shadow of a tensor, a list of shadows, or None where nothing comes from the image."""


@dataclass
class FoundLayer:
    """A weight that reads filters and writes filters.

    Args:
        weight: The parameter's name.
        writes: Ids that it writes, shape (G, K / G) for G convolution groups.
        reads: Ids that it reads, shape (G, C / G).
        transposed: Whether its weight's first dimension is what it reads.
        node: The operation, the first of several.
        nodes: All of them.
    """

    weight: str
    writes: Tensor
    reads: Tensor
    transposed: bool
    node: fx.Node
    nodes: list[fx.Node]


@dataclass
class FoundNorm:
    """A norm over several channels: a layer norm over the last dimension, or a group norm.

    Args:
        weight: Name of its scale.
        column: Ids of its channels, shape (C,).
        groups: Its groups of channels, 1 for a layer norm.
        nodes: The operations.
    """

    weight: str
    column: Tensor
    groups: int
    nodes: list[fx.Node]


@dataclass
class Propagation:
    """A run of a network's graph on shadows.

    Args:
        trace: The graph.
        module: The network.
        images: Shape (B, C, *space).

    Attributes:
        ids: All filters, and which are tied.
        layers: The weights that write filters, by name, in the order in which they run.
        norms: Norms over channels by the names of their scales.
        shadows: Of the outputs.
    """

    trace: Trace
    module: nn.Module
    images: Tensor
    ids: FilterIds = field(default_factory=FilterIds)
    layers: dict[str, FoundLayer] = field(default_factory=dict)
    norms: dict[str, FoundNorm] = field(default_factory=dict)
    shadows: list[Tensor | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Run the graph."""
        self._values: dict[fx.Node, Any] = dict(self.trace.inputs(self.module, self.images))
        self._shadows: dict[fx.Node, Shadow] = {
            node: torch.zeros(value.shape, dtype=torch.float64) if value is self.images else None
            for node, value in self._values.items()
        }
        parameters = dict(self.module.named_parameters())
        names = {node: self.trace.state.get(node.name, "") for node in self._values}
        self._parameters = {node: name for node, name in names.items() if name in parameters}
        self._learned = set(self._parameters)  # what parameters alone determine
        for node in self.trace.operations:
            self._run(node)
            for other in self.trace.last_uses.get(node, ()):
                del self._values[other], self._shadows[other]
        self.shadows = [self._shadows[output] for output in self.trace.outputs]
        self._check_uses()

    def _run(self, node: fx.Node) -> None:
        name = operation(node)
        inputs = [self._shadows[other] for other in node.all_input_nodes]
        self._values[node] = value = call(node, self._values)
        if node.target is operator.getitem:
            source: Any = node.args[0]
            whole = self._shadows[source]
            self._shadows[node] = None if whole is None else whole[node.args[1]]
            return
        is_layer = name in _CONVOLUTIONS or name == "linear"
        if not is_layer and (name in _CONSTANT or all(shadow is None for shadow in inputs)):
            self._shadows[node] = None
            if not self._learned.isdisjoint(node.all_input_nodes):
                self._learned.add(node)
            return
        rule = _rule(name)
        if rule is None and self._reads_only_images(node, value):
            self._shadows[node] = torch.zeros(value.shape, dtype=torch.float64)
            return
        if rule is None:
            raise BackboneError(
                f"filters cannot be followed through {place(node)}; write that part with convolutions, linear layers, "
                "norms, pools and elementwise functions"
            )
        shadow = rule(self, node, value)
        if isinstance(shadow, Tensor) and shadow.shape != value.shape:
            shadow = shadow.expand(value.shape).clone()
        self._shadows[node] = shadow

    def _reads_only_images(self, node: fx.Node, value: Any) -> bool:
        """Return whether what an operation computes depends on no filter and no parameter."""
        shadows = [self._shadows[other] for other in node.all_input_nodes]
        has_filters = any(shadow is not None and bool(shadow.any()) for shadow in shadows)
        return isinstance(value, Tensor) and not has_filters and not self._parameters.keys() & set(node.all_input_nodes)

    def _check_uses(self) -> None:
        """Check that weights under a mask, and scales of norms by group, are read as such only."""
        known = {name: found.nodes for table in (self.layers, self.norms) for name, found in table.items()}
        for node, name in self._parameters.items():
            others = [user for user in node.users if user not in known.get(name, node.users)]
            if others:
                raise BackboneError(
                    f"{place(others[0])} reads {name} otherwise than the layer that has it; give it one of its own"
                )

    def of(self, argument: Any) -> Tensor:
        """Return the shadow of an argument that is a tensor, zeros where nothing comes from a filter."""
        shadow = self._shadows[argument]
        if shadow is None:
            return torch.zeros(self._values[argument].shape, dtype=torch.float64)
        found: Tensor = shadow
        return found

    def move(self, node: fx.Node, value: Any) -> Shadow:
        """Run an operation that moves numbers on the shadow of what it moves; indices and the like stay as they are."""
        del value
        moved: Any = node.args[0]
        arguments = moved if isinstance(moved, Sequence) else [moved]
        others = [self._shadows[other] for other in nodes_in(node.args[1:])]
        if operation(node) in _BY_VALUE and any(other is not None and bool(other.any()) for other in others):
            raise BackboneError(
                f"{place(node)} moves numbers by what filters say; choose by torch.where or products instead"
            )
        return call(node, {**self._values, **{argument: self.of(argument) for argument in arguments}})

    def pad(self, node: fx.Node, value: Tensor) -> Tensor:
        """Pad with zeros, whatever the operation pads with: every group may read that."""
        if operation(node) == "pad" and len(node.args) > 2 and node.args[2] != "constant":
            moved: Tensor = self.move(node, value)
            return moved
        pads: Any = fx.map_arg(node.args[1], self._values.__getitem__)
        return nn.functional.pad(self.of(node.args[0]), pads)

    def same(self, node: fx.Node, value: Tensor) -> Tensor:
        """Pass the shadow on."""
        del value
        return self.of(node.args[0])

    def combine(self, node: fx.Node, value: Tensor) -> Tensor:
        """Tie all operands of an elementwise operation."""
        del value
        operands = [self._shadows[other] for other in node.all_input_nodes if self._shadows[other] is not None]
        total: Tensor = operands[0]
        for other in operands[1:]:
            total = self.ids.tie(total, other, place(node))
        return total

    def channelwise(self, node: fx.Node, value: Any) -> Shadow:
        """Pass the column of ids of the channels."""
        shadow = self.of(node.args[0])
        space = next((int(digit) for digit in operation(node) if digit.isdigit()), shadow.ndim - 2)
        dim = shadow.ndim - space - 1  # 0 where an image of a batch is taken for a channel
        column = self.ids.column(shadow, dim, place(node))
        if isinstance(value, Tensor):
            return spread(column, dim, value.shape)
        return [spread(column, dim, part.shape) for part in value]

    def reduce(self, node: fx.Node, value: Any) -> Shadow:
        """Tie what a reduction combines."""
        shadow = self.of(node.args[0])
        position = 2 if "norm" in operation(node) else 1
        given = node.kwargs.get("dim", node.args[position] if len(node.args) > position else None)
        if isinstance(given, fx.Node):  # torch.max(one, other)
            return self.combine(node, value)
        dims: Any = [given] if type(given) is int else given
        if not isinstance(dims, Sequence) or not dims:
            dims = range(shadow.ndim)
        top = self.ids.tie_over(shadow, dims, place(node))
        if isinstance(value, Tensor):
            return top.reshape(value.shape)
        return [top.reshape(part.shape) for part in value]

    def softmax(self, node: fx.Node, value: Tensor) -> Tensor:
        """Tie what the softmax normalises together."""
        del value
        dim: Any = node.args[1]
        return self.ids.tie_over(self.of(node.args[0]), [dim], place(node))

    def matmul(self, node: fx.Node, value: Tensor) -> Tensor:
        """Tie what the products sum over, and both factors."""
        del value
        first, second = self.of(node.args[0]), self.of(node.args[1])
        rows = self.ids.tie_over(first, [-1], place(node))
        columns = self.ids.tie_over(second, [-2 if second.ndim > 1 else -1], place(node))
        return self.ids.tie(rows, columns, place(node))

    def attention(self, node: fx.Node, value: Tensor) -> Tensor:
        """Tie all channels of an attention head, and what is added to its logits."""
        del value
        query, key, values, *added = (self.of(argument) for argument in node.args[:4] if argument is not None)
        combined = self.ids.tie_over(values, [-2], place(node))
        for one, dims in ((query, [-1]), (key, [-1, -2]), *((one, [-1]) for one in added)):
            combined = self.ids.tie(combined, self.ids.tie_over(one, dims, place(node)), place(node))
        return combined

    def gated(self, node: fx.Node, value: Tensor) -> Tensor:
        """Tie the two halves of a gated linear unit."""
        del value
        dim: Any = node.args[1] if len(node.args) > 1 else -1
        first, second = self.of(node.args[0]).chunk(2, dim)
        return self.ids.tie(first, second, place(node))

    def layer_norm(self, node: fx.Node, value: Tensor) -> Tensor:
        """Note a norm over the last dimension; tie what any other one normalises together."""
        del value
        shadow = self.of(node.args[0])
        shape: Any = node.args[1]
        column = self._norm_column(node, shadow, -1, nn.LayerNorm) if len(shape) == 1 else None
        if column is not None:
            return spread(self._note_norm(node, column, 1), -1, shadow.shape)
        return self.ids.tie_over(shadow, range(-len(shape), 0), place(node))

    def group_norm(self, node: fx.Node, value: Tensor) -> Tensor:
        """Note a group norm; tie what one without a scale normalises together."""
        del value
        shadow = self.of(node.args[0])
        groups: Any = node.args[1]
        column = self._norm_column(node, shadow, 1, nn.GroupNorm)
        if column is not None:
            return spread(self._note_norm(node, column, groups), 1, shadow.shape)
        parts = torch.unflatten(shadow, 1, (groups, -1))
        return self.ids.tie_over(parts, range(2, parts.ndim), place(node)).expand_as(parts).reshape(shadow.shape)

    def _norm_column(self, node: fx.Node, shadow: Tensor, dim: int, kind: type[nn.Module]) -> Tensor | None:
        """Return the ids of a norm's channels, None if it cannot be told to normalise by group.

        It can if it is a module with a scale, and all its channels come from filters: one that all groups may read
        would become another in every group.
        """
        scale: Any = node.args[2] if len(node.args) > 2 else None
        if scale not in self._parameters:
            return None
        if not isinstance(self.module.get_submodule(self._parameters[scale].rpartition(".")[0]), kind):
            return None
        column = self.ids.column(shadow, dim, place(node))
        return column if bool(column.all()) else None

    def _note_norm(self, node: fx.Node, column: Tensor, groups: int) -> Tensor:
        scale: Any = node.args[2]
        name = self._parameters[scale]
        found = self.norms.setdefault(name, FoundNorm(name, column, groups, []))
        found.nodes.append(node)
        found.column = self.ids.tie(found.column, column, f"{place(node)}, used twice,")
        return found.column

    def convolve(self, node: fx.Node, value: Tensor) -> Tensor:
        """Read the channels of every convolution group and write filters."""
        weight: Any = node.args[1]
        transposed = "transpose" in operation(node)
        kernel = self._values[weight].shape
        groups: Any = node.args[6] if len(node.args) > 6 else 1
        if value.ndim != len(kernel):
            raise BackboneError(f"{place(node)} reads images without a batch; keep the dimension of the batch")
        width = kernel[1] * groups if transposed else kernel[0]
        reads = self.ids.column(self.of(node.args[0]), 1, place(node)).view(groups, -1)
        return spread(self._write(node, weight, reads, width, transposed), 1, value.shape)

    def linear(self, node: fx.Node, value: Tensor) -> Tensor:
        """Read the last dimension and write filters."""
        reads = self.ids.column(self.of(node.args[0]), -1, place(node))[None]
        return spread(self._write(node, node.args[1], reads, value.shape[-1], False), -1, value.shape)

    def _write(self, node: fx.Node, weight: Any, reads: Tensor, width: int, transposed: bool) -> Tensor:
        """Return the ids that a layer writes, shape (K,), and note what it reads."""
        groups = len(reads)
        depthwise = reads.shape[1] == 1 and groups > 1
        if weight not in self._parameters:
            return self._apply_fixed(node, weight, reads, width)
        name = self._parameters[weight]
        if name not in self.layers:
            writes = (
                reads.expand(-1, width // groups).clone() if depthwise else reads.new_zeros(groups, width // groups)
            )
            writes[writes == 0] = self.ids.fresh(int((writes == 0).sum()))
            self.layers[name] = FoundLayer(name, writes, reads, transposed, node, [])
        found = self.layers[name]
        if found.reads.shape != reads.shape or found.transposed != transposed:
            raise BackboneError(f"{place(node)} uses {name} a second time with other channels; give it a weight")
        found.nodes.append(node)
        # Where one use reads the image and the other a filter, the mask is the filter's.
        found.reads = self.ids.tie(found.reads, reads, f"{place(node)}, used twice,")
        if depthwise:  # a filter belongs to the channel that it reads
            self.ids.tie(found.writes, reads.expand_as(found.writes), place(node))
        return found.writes.flatten()

    def _apply_fixed(self, node: fx.Node, weight: Any, reads: Tensor, width: int) -> Tensor:
        """Return the ids that a weight writes that is no parameter: a blur of every channel, or of the image."""
        is_constant, is_of_image = weight not in self._learned, not bool(reads.any())
        if self._shadows[weight] is None and is_constant and is_of_image:
            return torch.zeros(width, dtype=torch.float64)
        if self._shadows[weight] is None and (is_constant or not is_of_image) and width == reads.numel() == len(reads):
            return reads.flatten()
        raise BackboneError(
            f"the weight of {place(node)} is no parameter, so it cannot be masked; make it one, and remove weight or "
            "spectral normalisation (torch.nn.utils.parametrize.remove_parametrizations)"
        )


_Rule = Callable[[Propagation, fx.Node, Any], Shadow]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_MOVES, Propagation.move),
    **dict.fromkeys(_SAME, Propagation.same),
    **dict.fromkeys(_PADS, Propagation.pad),
    **dict.fromkeys(_CHANNELWISE, Propagation.channelwise),
    **dict.fromkeys(_REDUCTIONS, Propagation.reduce),
    **dict.fromkeys(_CONVOLUTIONS, Propagation.convolve),
    **dict.fromkeys(("softmax", "log_softmax", "_softmax"), Propagation.softmax),
    **dict.fromkeys(("matmul", "mm", "bmm"), Propagation.matmul),
    "linear": Propagation.linear,
    "glu": Propagation.gated,
    "layer_norm": Propagation.layer_norm,
    "rms_norm": Propagation.layer_norm,
    "group_norm": Propagation.group_norm,
    "scaled_dot_product_attention": Propagation.attention,
}


def _rule(name: str) -> _Rule | None:
    """Return what is done to shadows in an operation, None for one that filters cannot be followed through."""
    plain = name.removesuffix("_")
    return _RULES.get(plain, Propagation.combine if _is_pointwise(plain) else None)


def _is_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )


def keeps_places(name: str) -> bool:
    """Return whether an operation leaves every number in its place: a norm, an activation, an addition and the like."""
    plain = name.removesuffix("_")
    return plain in _NORMS or plain in _SAME or _is_pointwise(plain)
