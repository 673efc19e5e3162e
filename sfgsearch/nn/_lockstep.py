"""Networks in lockstep of what a specification builds."""

from __future__ import annotations

import torch

from sfgsearch.graph import LockstepNetwork, Reading
from sfgsearch.nn._network import NetworkSpec


def build_lockstep(
    spec: NetworkSpec, copies: int, reading: Reading, generator: torch.Generator | None = None
) -> LockstepNetwork:
    """Build copies of a backbone that start from different weights, and the heads of all tasks.

    Args:
        spec: The network.
        copies: Copies of the backbone.
        reading: What layers read of the copies.
        generator: Fixes the weights that are drawn; without one, all copies start alike.
    """
    networks = [spec.build(generator) for _ in range(copies)]
    heads = [networks[task % copies].ordered_heads[task] for task in range(len(spec.tasks))]
    backbones = [network.backbone for network in networks]
    return LockstepNetwork(spec.plain_analysis, backbones, heads, spec.task_names, reading)
