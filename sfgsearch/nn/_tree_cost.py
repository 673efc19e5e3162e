"""Multiply-adds of the trees that a branched network draws, with gradients."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from sfgsearch.graph import LockstepNetwork, layer_macs
from sfgsearch.nn._routes import DrawnRoutes


def draw_tree_cost(network: LockstepNetwork) -> Tensor:
    r"""Draw a tree, and return its multiply-adds as a part of those of hard sharing.

    A copy i of a layer is in the tree, :math:`t_i = 1`, if any copy j that is in it reads it:

    .. math:: t_i = 1 - \prod_j \big( 1 - t_j\, d_{ji} \big)

    from the heads, which are all in it, down. Draws have the gradients of relaxed ones; see
    :class:`~sfgsearch.nn.DrawnRoute`. The resources of Bruggemann et al. (BMVC 2020) likewise are those of the branches
    that are drawn.

    Args:
        network: What :func:`~sfgsearch.nn.build_branching` built.

    Returns:
        A scalar from 1 to B; of the most probable tree in evaluation, and once routes have settled.
    """
    analysis = network.analysis
    drawn = cast(DrawnRoutes, network.reading)
    parents, heads = {weight: route() for weight, route in drawn.routes.items()}, drawn.heads()
    absent: dict[fx.Node, Tensor] = {}
    for task, output in enumerate(analysis.trace.outputs):
        absent[output] = 1 - torch.eye(analysis.num_tasks, device=heads.device)[task]
    for node in reversed(list(analysis.trace.operations)):
        if node not in absent:
            continue
        layer = analysis.readers.get(node.name)
        for other in node.all_input_nodes:
            by_node = absent[node]
            if layer and other is node.args[0]:
                chosen = parents.get(layer.weight, heads)
                by_node = (1 - (1 - by_node)[:, None] * chosen).prod(0)
            absent[other] = absent[other] * by_node if other in absent else by_node
    macs = layer_macs(analysis)
    costs = [macs[layer.weight] * (1 - absent[layer.node]).sum() for layer in analysis.layers]
    return torch.stack(costs).sum() / sum(macs.values())
