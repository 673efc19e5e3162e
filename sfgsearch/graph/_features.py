"""Feature maps of channel spaces: where a network's graph computes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from sfgsearch.graph._analysis import Analysis, ChannelSpace
from sfgsearch.graph._nodes import only_checks, operation
from sfgsearch.graph._rules import keeps_places


@dataclass(frozen=True)
class FeatureMap:
    """Where the features of a channel space are computed.

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

    Args:
        analysis: The network.
        space: One of its channel spaces.
    """
    layer = next(layer for layer in analysis.layers if layer.weight == space.layers[0])
    node, written = layer.node, layer.writes.flatten()
    while (follower := _only_reader(node)) is not None and keeps_places(operation(follower)):
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
