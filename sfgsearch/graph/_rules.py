"""Rules for all other operations on shadows.

Operations fall into few families. Those that only move numbers (reshaping, slicing, concatenation, padding) run on the
shadow itself. Those that treat channels by themselves pass a column of ids. Those that combine numbers tie the ids
that they combine. Convolutions and linear layers read ids and write new ones. Anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._ids import spread
from sfgsearch.graph._layers import convolve, group_norm, layer_norm, linear
from sfgsearch.graph._nodes import call, names, nodes_in, operation, origin

if TYPE_CHECKING:
    from sfgsearch.graph._propagation import Propagation

_MOVES = names(
    """
    view reshape _unsafe_view permute transpose t slice select cat concat stack split split_with_sizes chunk unbind
    expand expand_as repeat tile flip roll pixel_shuffle pixel_unshuffle channel_shuffle unsqueeze squeeze flatten
    unflatten contiguous clone detach alias upsample_nearest1d upsample_nearest2d upsample_nearest3d reshape_as
    view_as unfold movedim narrow index_select index repeat_interleave reflection_pad1d reflection_pad2d
    reflection_pad3d replication_pad1d replication_pad2d replication_pad3d numpy_T swapaxes mT tensor_split im2col
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    """
)
_BY_VALUE = names("index index_select repeat_interleave")
"""Movements whose other arguments say which numbers are moved, and so must not come from filters."""
_SAME = names("dropout feature_dropout alpha_dropout prelu to _to_copy type_as float double half softplus tril triu")
_POINTWISE = names("hardswish log_sigmoid multiply subtract divide absolute negative")
"""Elementwise operations that torch does not tag as such."""
CONSTANT = names(
    """
    sym_size size zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty shape numel dim
    """
)
_CHANNELWISE = names(
    """
    batch_norm instance_norm max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample_linear1d upsample_bilinear2d
    upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    """
)
_NORMS = names("batch_norm instance_norm layer_norm group_norm")
_REDUCTIONS = names("mean sum amax amin var std var_mean std_mean max min linalg_vector_norm norm logsumexp")
CONVOLUTIONS = names("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
_PADS = names("constant_pad_nd pad")

Shadow = Any
"""The shadow of a tensor, a list of shadows, or None where nothing comes from the image."""


def _move(run: Propagation, node: fx.Node, _value: Any) -> Shadow:
    """Run an operation that moves numbers on the shadow of what it moves; indices and the like stay as they are."""
    moved: Any = node.args[0]
    arguments = moved if isinstance(moved, Sequence) else [moved]
    others = [run.shadows[other] for other in nodes_in(node.args[1:])]
    if operation(node) in _BY_VALUE and any(other is not None and bool(other.any()) for other in others):
        raise BackboneError(
            f"{origin(node)} moves numbers by what filters say; choose by torch.where or products instead"
        )
    return call(node, {**run.values, **{argument: run.of(argument) for argument in arguments}})


def _pad(run: Propagation, node: fx.Node, value: Tensor) -> Tensor:
    """Pad with zeros, whatever the operation pads with: every group may read that."""
    if operation(node) == "pad" and len(node.args) > 2 and node.args[2] != "constant":
        moved: Tensor = _move(run, node, value)
        return moved
    pads: Any = fx.map_arg(node.args[1], run.values.__getitem__)
    return nn.functional.pad(run.of(node.args[0]), pads)


def _same(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Pass the shadow on."""
    return run.of(node.args[0])


def _combine(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Tie all operands of an elementwise operation."""
    operands = [run.shadows[other] for other in node.all_input_nodes if run.shadows[other] is not None]
    total: Tensor = operands[0]
    for other in operands[1:]:
        total = run.ids.tie(total, other, origin(node))
    return total


def _channelwise(run: Propagation, node: fx.Node, value: Any) -> Shadow:
    """Pass the column of ids of the channels."""
    shadow = run.of(node.args[0])
    space = next((int(digit) for digit in operation(node) if digit.isdigit()), shadow.ndim - 2)
    dim = shadow.ndim - space - 1  # 0 where an image of a batch is taken for a channel
    column = run.ids.column(shadow, dim, origin(node))
    if isinstance(value, Tensor):
        return spread(column, dim, value.shape)
    return [spread(column, dim, part.shape) for part in value]


def _reduce(run: Propagation, node: fx.Node, value: Any) -> Shadow:
    """Tie what a reduction combines."""
    shadow = run.of(node.args[0])
    position = 2 if "norm" in operation(node) else 1
    given = node.kwargs.get("dim", node.args[position] if len(node.args) > position else None)
    if isinstance(given, fx.Node):  # torch.max(one, other)
        return _combine(run, node, value)
    dims: Any = [given] if type(given) is int else given
    if not isinstance(dims, Sequence) or not dims:
        dims = range(shadow.ndim)
    top = run.ids.tie_over(shadow, dims, origin(node))
    if isinstance(value, Tensor):
        return top.reshape(value.shape)
    return [top.reshape(part.shape) for part in value]


def _softmax(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Tie what the softmax normalises together."""
    dim: Any = node.args[1]
    return run.ids.tie_over(run.of(node.args[0]), [dim], origin(node))


def _matmul(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Tie what the products sum over, and both factors."""
    first, second = run.of(node.args[0]), run.of(node.args[1])
    rows = run.ids.tie_over(first, [-1], origin(node))
    columns = run.ids.tie_over(second, [-2 if second.ndim > 1 else -1], origin(node))
    return run.ids.tie(rows, columns, origin(node))


def _attention(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Tie all channels of an attention head, and what is added to its logits."""
    query, key, values, *added = (run.of(argument) for argument in node.args[:4] if argument is not None)
    combined = run.ids.tie_over(values, [-2], origin(node))
    for one, dims in ((query, [-1]), (key, [-1, -2]), *((one, [-1]) for one in added)):
        combined = run.ids.tie(combined, run.ids.tie_over(one, dims, origin(node)), origin(node))
    return combined


def _weight_norm(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Tie what has one norm: a slice along the dimension that is given, or all."""
    dim: Any = node.args[2] if len(node.args) > 2 else 0
    shadow = run.of(node.args[0])
    return run.ids.tie_over(shadow, [other for other in range(shadow.ndim) if other != dim], origin(node))


def _gated(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Tie the two halves of a gated linear unit."""
    dim: Any = node.args[1] if len(node.args) > 1 else -1
    first, second = run.of(node.args[0]).chunk(2, dim)
    return run.ids.tie(first, second, origin(node))


_Rule = Callable[["Propagation", fx.Node, Any], Shadow]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_MOVES, _move),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_POINTWISE, _combine),
    **dict.fromkeys(_PADS, _pad),
    **dict.fromkeys(_CHANNELWISE, _channelwise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(CONVOLUTIONS, convolve),
    **dict.fromkeys(("softmax", "log_softmax", "_softmax"), _softmax),
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "linear": linear,
    "glu": _gated,
    "_weight_norm": _weight_norm,
    "layer_norm": layer_norm,
    "rms_norm": layer_norm,
    "group_norm": group_norm,
    "scaled_dot_product_attention": _attention,
}


def find_rule(name: str) -> _Rule | None:
    """Return the rule of an operation, None for one that filters cannot be followed through."""
    plain = name.removesuffix("_")
    return _RULES.get(plain, _combine if _is_pointwise(plain) else None)


def keeps_positions(name: str) -> bool:
    """Return whether an operation keeps every number at its position: norms, activations, additions and the like."""
    plain = name.removesuffix("_")
    return plain in _NORMS or plain in _SAME or _is_pointwise(plain)


def _is_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )
