"""Rules for layers with weights on shadows: convolutions, linear layers, and norms over channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._ids import spread
from sfgsearch.graph._nodes import operation, origin

if TYPE_CHECKING:
    from sfgsearch.graph._propagation import Propagation


@dataclass
class FoundLayer:
    """A weight that reads filters and writes filters.

    Args:
        weight: The parameter's name.
        writes: Ids that it writes, shape (G, K / G) for G convolution groups.
        reads: Ids that it reads, shape (G, C / G).
        transposed: Whether its weight's first dimension is what it reads.
        nodes: The operations, in the order in which they run.
        chain: What computes its kernel from the weight; empty where the weight is the kernel.
    """

    weight: str
    writes: Tensor
    reads: Tensor
    transposed: bool
    nodes: list[fx.Node] = field(default_factory=list)
    chain: list[fx.Node] = field(default_factory=list)


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


def layer_norm(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Note a norm over the last dimension; tie what any other one normalises together."""
    shadow = run.of(node.args[0])
    shape: Any = node.args[1]
    column = _norm_column(run, node, shadow, -1, nn.LayerNorm) if len(shape) == 1 else None
    if column is not None:
        return spread(_note_norm(run, node, column, 1), -1, shadow.shape)
    return run.ids.tie_over(shadow, range(-len(shape), 0), origin(node))


def group_norm(run: Propagation, node: fx.Node, _value: Tensor) -> Tensor:
    """Note a group norm; tie what one without a scale normalises together."""
    shadow = run.of(node.args[0])
    groups: Any = node.args[1]
    column = _norm_column(run, node, shadow, 1, nn.GroupNorm)
    if column is not None:
        return spread(_note_norm(run, node, column, groups), 1, shadow.shape)
    parts = torch.unflatten(shadow, 1, (groups, -1))
    return run.ids.tie_over(parts, range(2, parts.ndim), origin(node)).expand_as(parts).reshape(shadow.shape)


def _norm_column(run: Propagation, node: fx.Node, shadow: Tensor, dim: int, kind: type[nn.Module]) -> Tensor | None:
    """Return the ids of a norm's channels, None if it cannot be told to normalise by group.

    It can if it is a module with a scale, and all its channels come from filters: one that all groups may read
    would become another in every group.
    """
    scale: Any = node.args[2] if len(node.args) > 2 else None
    if scale not in run.parameters:
        return None
    if not isinstance(run.module.get_submodule(run.parameters[scale].rpartition(".")[0]), kind):
        return None
    column = run.ids.column(shadow, dim, origin(node))
    return column if bool(column.all()) else None


def _note_norm(run: Propagation, node: fx.Node, column: Tensor, groups: int) -> Tensor:
    scale: Any = node.args[2]
    name = run.parameters[scale]
    found = run.norms.setdefault(name, FoundNorm(name, column, groups, []))
    found.nodes.append(node)
    found.column = run.ids.tie(found.column, column, f"{origin(node)}, used twice,")
    return found.column


def convolve(run: Propagation, node: fx.Node, value: Tensor) -> Tensor:
    """Read the channels of every convolution group and write filters."""
    weight: Any = node.args[1]
    transposed = "transpose" in operation(node)
    kernel = run.values[weight].shape
    groups: Any = node.args[6] if len(node.args) > 6 else 1
    if value.ndim != len(kernel):
        raise BackboneError(f"{origin(node)} reads images without a batch; keep the dimension of the batch")
    width = kernel[1] * groups if transposed else kernel[0]
    reads = run.ids.column(run.of(node.args[0]), 1, origin(node)).view(groups, -1)
    return spread(_write(run, node, weight, reads, width, transposed), 1, value.shape)


def linear(run: Propagation, node: fx.Node, value: Tensor) -> Tensor:
    """Read the last dimension and write filters."""
    reads = run.ids.column(run.of(node.args[0]), -1, origin(node))[None]
    return spread(_write(run, node, node.args[1], reads, value.shape[-1], False), -1, value.shape)


def _write(run: Propagation, node: fx.Node, weight: Any, reads: Tensor, width: int, transposed: bool) -> Tensor:
    """Return the ids that a layer writes, shape (K,), and note what it reads."""
    groups = len(reads)
    depthwise = reads.shape[1] == 1 and groups > 1
    kernel = run.kernels.get(weight)
    if kernel is None and weight not in run.parameters:
        return _apply_fixed(run, node, weight, reads, width)
    name = kernel.weight if kernel else run.parameters[weight]
    if name not in run.layers:
        writes = reads.expand(-1, width // groups).clone() if depthwise else reads.new_zeros(groups, width // groups)
        if kernel:
            rows = run.ids.column(run.of(weight), 0, origin(node)).view(groups, -1)
            writes = run.ids.tie(writes, rows, origin(node)).clone()
        writes[writes == 0] = run.ids.fresh(int((writes == 0).sum()))
        run.layers[name] = FoundLayer(name, writes, reads, transposed)
    found = run.layers[name]
    if found.reads.shape != reads.shape or found.transposed != transposed:
        raise BackboneError(f"{origin(node)} uses {name} a second time with other channels; give it a weight")
    found.nodes.append(node)
    found.chain.extend(kernel.chain if kernel else ())
    # Where one use reads the image and the other a filter, the mask is the filter's.
    found.reads = run.ids.tie(found.reads, reads, f"{origin(node)}, used twice,")
    if depthwise:  # a filter belongs to the channel that it reads
        run.ids.tie(found.writes, reads.expand_as(found.writes), origin(node))
    return found.writes.flatten()


def _apply_fixed(run: Propagation, node: fx.Node, weight: Any, reads: Tensor, width: int) -> Tensor:
    """Return the ids that a weight writes that is no parameter: a blur of every channel, or of the image."""
    is_constant, is_of_image = weight not in run.learned, not bool(reads.any())
    if run.shadows[weight] is None and is_constant and is_of_image:
        return torch.zeros(width, dtype=torch.float64)
    if run.shadows[weight] is None and (is_constant or not is_of_image) and width == reads.numel() == len(reads):
        return reads.flatten()
    raise no_parameter(node)


def no_parameter(node: fx.Node) -> BackboneError:
    """Return the error of a layer whose weight no mask can be applied to."""
    return BackboneError(
        f"the weight of {origin(node)} is no parameter, nor computed from one filter by filter, so it cannot be "
        "masked; make it one, and remove spectral normalisation (torch.nn.utils.parametrize.remove_parametrizations)"
    )
