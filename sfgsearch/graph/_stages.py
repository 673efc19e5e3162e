"""Stages of a backbone: where it is a single chain, and where resolution or width change."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, fx

from sfgsearch.graph._analysis import BACKBONE, Analysis
from sfgsearch.graph._nodes import owner


def stage_ends(analysis: Analysis) -> tuple[fx.Node, ...]:
    """Return the values with which the stages of a backbone end, in the order in which they are computed.

    Stages are told apart where the backbone is a single chain: at values that all that follows depends on alone, which
    no shortcut passes by. A stage ends before a part of the chain whose first layer has another resolution or another
    number of filters than that of the part before, and the last one where the backbone ends. So pools and residual
    blocks belong to the stage that they close.

    Args:
        analysis: Of a network whose backbone is called ``backbone``.
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
    """Yield the nodes between places where the backbone is a chain, each with the value at its end."""
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
