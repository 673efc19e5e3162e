"""Which parameters of a network are those of its backbone, whatever the method."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from sfgsearch.graph import LockstepNetwork, StreamsNetwork
from sfgsearch.nn._network import MultiTaskNetwork
from sfgsearch.nn._routed import RoutedNetwork


def backbone_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of all backbones in a network, and of the copies of their parts that tasks have."""
    for module in network.modules():
        if isinstance(module, MultiTaskNetwork):
            yield from module.backbone.parameters()
        elif isinstance(module, LockstepNetwork):
            yield from module.copies.parameters()
        elif isinstance(module, RoutedNetwork):
            yield from module.norms.parameters()
        elif isinstance(module, StreamsNetwork):
            yield from module.own_parts.parameters()
