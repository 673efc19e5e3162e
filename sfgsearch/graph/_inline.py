"""Parts of a network's graph that are graphs of their own, put into the whole where they compute the same there."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx


def inline_precise_parts(module: fx.GraphModule) -> None:
    """Put what a forward runs with autocast disabled into the graph around it: in evaluation, that computes the same.

    Attention is often run so, to keep its sums precise. The network's own forward does as it is written; where its
    graph is run in streams or copies, such a part has the precision of what is around it.

    Args:
        module: The graph, changed in place, and the parts.
    """
    for node in list(module.graph.nodes):
        if node.target is torch.ops.higher_order.wrap_with_autocast and node.args[2] is False:
            _inline(module, node)


def _inline(module: fx.GraphModule, node: fx.Node) -> None:
    reference: Any = node.args[4]
    part = module.get_submodule(reference.target)
    inline_precise_parts(part)  # type: ignore[arg-type]
    inner: fx.Graph = part.graph  # type: ignore[assignment]
    known = dict(zip((one for one in inner.nodes if one.op == "placeholder"), node.args[5:], strict=True))
    with module.graph.inserting_before(node):
        results: Any = module.graph.graph_copy(inner, known)
    for user in list(node.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])
            module.graph.erase_node(user)
    module.graph.erase_node(node)
    if not reference.users:
        module.graph.erase_node(reference)
