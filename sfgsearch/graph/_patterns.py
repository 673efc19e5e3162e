"""Patterns in a network's graph: feature maps, stages and residual blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from sfgsearch.graph._analysis import BACKBONE, Analysis, ChannelSpace
from sfgsearch.graph._nodes import only_checks, operation, owner
from sfgsearch.graph._rules import keeps_positions

_ADDITIONS = ("add", "add_")


@dataclass(frozen=True)
class FeatureMap:
    """The operation that computes the features of a channel space.

    Args:
        space: The channel space.
        node: The operation whose value they are.
        dim: The dimension of its channels, 1 or the last one.
        channels: The channel of every filter, the first one where several are tied; int64 of shape (K,).
        size: Pixels of a map along each side; empty for vectors and tokens.
    """

    space: ChannelSpace
    node: fx.Node
    dim: int
    channels: Tensor
    size: tuple[int, ...]


def feature_map(analysis: Analysis, space: ChannelSpace) -> FeatureMap:
    """Find the features of a channel space: what its first layer writes, after norms and activations.

    Norms, activations, additions and the like are followed as long as nothing else reads what they are applied to.
    """
    layer = next(layer for layer in analysis.layers if layer.weight == space.layers[0])
    node, written = layer.node, layer.writes.flatten()
    while (follower := _only_reader(node)) is not None and keeps_positions(operation(follower)):
        node = follower
    filters = torch.arange(space.rows.start, space.rows.stop)
    channels = (written == filters[:, None]).int().argmax(1)
    if operation(layer.node) == "linear":
        return FeatureMap(space, node, -1, channels, ())
    return FeatureMap(space, node, 1, channels, tuple(map(int, node.meta["val"].shape[2:])))


def _only_reader(node: fx.Node) -> fx.Node | None:
    """Return the operation that reads a value, None if several ones do."""
    readers = [user for user in node.users if not only_checks(user) and operation(user) != "sym_size"]
    return readers[0] if len(readers) == 1 and readers[0].op == "call_function" else None


def stage_ends(analysis: Analysis) -> tuple[fx.Node, ...]:
    """Return the values with which the stages of a backbone end, in the order in which they are computed.

    Stages are told apart where the backbone is a single chain: at values that all that follows depends on alone, which
    no shortcut passes by. A stage ends before a part of the chain whose first layer has another resolution or another
    number of filters than that of the part before, and the last one where the backbone ends. So pools and residual
    blocks belong to the stage that they close.
    """
    layers = {layer.node for layer in analysis.layers}
    ends: list[fx.Node] = []
    shape, latest = None, None
    for nodes in _parts(analysis):
        first = next((node for node in nodes if node in layers), None)
        if first is not None:
            if latest is not None and shape not in (None, _shape(first)):
                ends.append(latest)
            shape = _shape(first)
        latest = nodes[-1]
    return (*ends, *([] if latest is None else [latest]))


def _parts(analysis: Analysis) -> Iterator[list[fx.Node]]:
    """Yield the nodes between positions where the backbone is a chain, each with the value at its end."""
    nodes = [node for node in analysis.trace.operations if isinstance(node.meta.get("val"), Tensor)]
    position = {node: index for index, node in enumerate(nodes)}
    part: list[fx.Node] = []
    furthest = 0  # to where values of earlier nodes are read
    for index, node in enumerate(nodes):
        if not owner(node).startswith(BACKBONE):
            return
        part.append(node)
        if furthest <= index and node.meta["val"].ndim in (2, len(analysis.trace.image_shape) + 1):
            yield part
            part = []
        furthest = max([furthest, *(position[user] for user in node.users if user in position)])


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Return the filters and the space of a layer's response."""
    return tuple(node.meta["val"].shape[1:])


@dataclass(frozen=True)
class ResidualBlock:
    """An addition of a branch and a shortcut.

    Args:
        name: Path of the module that adds, with a number where it adds several times.
        node: The addition.
        branch: The operand that more layers lead to.
        shortcut: The other one.
    """

    name: str
    node: fx.Node
    branch: fx.Node
    shortcut: fx.Node

    def __deepcopy__(self, memo: dict[int, object]) -> ResidualBlock:
        """Return itself: it never changes, and its nodes are linked to all others."""
        return self


def residual_blocks(analysis: Analysis) -> tuple[ResidualBlock, ...]:
    """Return the residual blocks of a backbone, in the order in which they are computed.

    A block is an addition of two maps of the same shape, to one of which more layers lead that do not lead to the
    other: the branch. So shortcuts may be projected by a layer, and parallel layers whose outputs are added are none.
    """
    weights = {node for node in analysis.trace.operations if _runs_layer(analysis, node)}
    before: dict[fx.Node, frozenset[fx.Node]] = {}
    found: dict[str, ResidualBlock] = {}
    for node in analysis.trace.operations:
        operands = [other for other in node.all_input_nodes if other in before]
        before[node] = frozenset({node} & weights).union(*(before[other] for other in operands))
        if operation(node) not in _ADDITIONS or len(operands) != 2 or not owner(node).startswith(BACKBONE):
            continue
        if operands[0].meta["val"].shape != operands[1].meta["val"].shape:
            continue
        own = [len(before[one] - before[other]) for one, other in (operands, operands[::-1])]
        if own[0] != own[1]:
            shortcut, branch = operands if own[0] < own[1] else operands[::-1]
            name = _name(owner(node), found)
            found[name] = ResidualBlock(name, node, branch, shortcut)
    return tuple(found.values())


def _runs_layer(analysis: Analysis, node: fx.Node) -> bool:
    """Return whether a node is a convolution or linear layer with a weight of its own."""
    return any(node in layer.nodes for layer in analysis.layers)


def _name(path: str, taken: dict[str, ResidualBlock]) -> str:
    path = path.removeprefix(f"{BACKBONE}.")
    numbered = (f"{path}/{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (path, *numbered) if name not in taken)
