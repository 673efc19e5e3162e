"""Expected multiply-adds of a branched network, as a differentiable function of the draws of its parents."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from sfgsearch.graph import LockstepNetwork, layer_macs
from sfgsearch.nn._routes import DrawnRoutes


def expected_tree_cost(network: LockstepNetwork) -> Tensor:
    r"""Return the expected multiply-adds of the trees that routes draw, as a part of those of hard sharing.

    A copy is in the tree if any copy that is in it reads it, the children j of a layer each with probability
    :math:`\theta_{ji}`:

    .. math:: P(i) = 1 - \prod_j \big( 1 - P(j)\, \theta_{ji} \big)

    from the heads, which are all in it, down; whether children are in it is taken as independent. The resources of
    Bruggemann et al. (BMVC 2020) likewise are those of the branches that are drawn.

    Args:
        network: What :func:`~sfgsearch.nn.build_branching` built.

    Returns:
        A scalar from 1 to B, through which the logits of parents get gradients.
    """
    analysis = network.analysis
    drawn = cast(DrawnRoutes, network.reading)
    parents = {weight: route.probs for weight, route in drawn.routes.items()}
    absent: dict[fx.Node, Tensor] = {}
    for task, output in enumerate(analysis.trace.outputs):
        absent[output] = 1 - torch.eye(analysis.num_tasks, device=drawn.heads.logits.device)[task]
    for node in reversed(list(analysis.trace.operations)):
        if node not in absent:
            continue
        layer = analysis.readers.get(node.name)
        for other in node.all_input_nodes:
            by_node = absent[node]
            if layer and other is node.args[0]:
                chosen = parents.get(layer.weight, drawn.heads.probs)
                by_node = (1 - (1 - by_node)[:, None] * chosen).prod(0)
            absent[other] = absent[other] * by_node if other in absent else by_node
    macs = layer_macs(analysis)
    costs = [macs[layer.weight] * (1 - absent[layer.node]).sum() for layer in analysis.layers]
    return torch.stack(costs).sum() / sum(macs.values())
