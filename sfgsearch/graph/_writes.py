"""Operations that write into a tensor, replaced by those that return a new one."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import fx

from sfgsearch.errors import BackboneError
from sfgsearch.graph._nodes import names, operation, origin

_MAY_BE_VIEWS = names(
    """
    view reshape _unsafe_view permute transpose t slice select split split_with_sizes chunk unbind expand expand_as
    unsqueeze squeeze flatten unflatten contiguous detach alias view_as reshape_as unfold movedim narrow swapaxes mT
    tensor_split numpy_T to type_as float double dropout feature_dropout alpha_dropout getitem diagonal
    """
)


def replace_writes(graph: fx.Graph, state: Container[str]) -> None:
    """Make every in-place operation of a graph return a new tensor, which is what is read from then on.

    A node then stands for one value, whoever else reads it and in whichever stream.

    Raises:
        BackboneError: If something is written into a part of a tensor, into one of which a part is read later, or into
            a parameter or buffer.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    sources: dict[fx.Node, fx.Node] = {}  # whose result a node's result may be a view of
    views: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if _writes(node):
            written, now = node.all_input_nodes[0], position[node]
            source = sources[written]
            _check(node, source, state)
            is_read = [
                any(position[user] > now for user in view.users) for view in views[source] if view is not written
            ]
            if any(is_read):
                raise BackboneError(
                    f"{origin(node)} writes into a tensor of which a part is read elsewhere; use torch.cat, "
                    "torch.where or an operation that is not in place"
                )
            node.target = _functional(node)
            for user in [user for user in written.users if position[user] > now]:
                user.replace_input_with(written, node)
            sources[node] = node
        else:
            may_be_view = operation(node) in _MAY_BE_VIEWS and node.all_input_nodes
            sources[node] = sources[node.all_input_nodes[0]] if may_be_view else node
        views.setdefault(sources[node], []).append(node)


def _writes(node: fx.Node) -> bool:
    name = operation(node)
    return node.op == "call_function" and name.endswith("_") and not name.startswith("_") and bool(node.all_input_nodes)


def _check(node: fx.Node, source: fx.Node, state: Container[str]) -> None:
    if source.name in state:
        raise BackboneError(f"{origin(node)} writes into a parameter or buffer; forward must leave them as they are")


def _functional(node: fx.Node) -> Any:
    """Return the operation that computes the same without writing."""
    name, _, overload = str(getattr(node.target, "__name__", "")).partition(".")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    found = getattr(packet, overload, None)
    if found is None:
        raise BackboneError(f"{origin(node)} writes in place; use an operation that is not in place")
    return found
