"""Networks whose tasks run the residual blocks that a policy selects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.graph import LockstepNetwork, reached
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.nn import (
    Complexity,
    NetworkSpec,
    Policy,
    SelectedBlocks,
    Structure,
    build_shared,
    complexity,
    likely_policy,
    policy_structure,
)


class PolicySystem(System):
    """A network in lockstep, described by its most probable policy."""

    network: LockstepNetwork

    def policy(self) -> Policy:
        """Return the most probable policy as of now."""
        return likely_policy(self.network)

    def allocation(self) -> Allocation:
        """Return how many filters serve one task, or several: these are shared.

        Channel spaces that a task has no part in, as it skips a block, are left out: an allocation gives every task
        something to read. The policy tells them.
        """
        spec, analysis = self.spec, self.spec.plain_analysis
        reading, tasks = SelectedBlocks(analysis, self.policy()), range(len(spec.tasks))
        used: list[set[str]] = []
        for task in tasks:
            found = reached(analysis, reading, [task])
            used.append({name for placeholder, name in analysis.trace.state.items() if found[placeholder]})
        layers = [
            LayerAllocation(space.name, (0,) * len(tasks) + (space.num_filters,))
            if len(tasks) > 1
            else LayerAllocation(space.name, (space.num_filters, 0))
            for space in analysis.spaces
            if all(any(weight in names for weight in space.layers) for names in used)
        ]
        return Allocation(group_names(spec.task_names), tuple(layers))

    def structure(self) -> Structure:
        """Return that of the network of the most probable policy."""
        return policy_structure(self.policy())


@dataclass(frozen=True)
class FixedPolicy(Method):
    """Train the blocks that a policy selects from scratch.

    Args:
        policy: The policy, such as :meth:`AdaShareSystem.policy` returned.
    """

    policy: Policy

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedPolicySystem:
        """Build the network.

        Raises:
            AllocationError: If the policy does not fit it.
        """
        network = build_shared(spec, SelectedBlocks(spec.plain_analysis, self.policy), randomness.weights)
        return FixedPolicySystem(network.to(device), spec)


class FixedPolicySystem(PolicySystem):
    """A network of a policy that stands still: it predicts as it trains."""

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the network itself, whose running statistics fit it."""
        del calibration
        return self.network

    def complexity(self) -> Complexity:
        """Return the network's own."""
        return complexity(self.network, self.spec.image_shape)
