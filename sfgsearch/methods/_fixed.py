"""Training under a fixed allocation: searched, manual and retrained learned architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.nn import (
    AllocatedBuilder,
    Complexity,
    MultiTaskNetwork,
    NetworkSpec,
    Structure,
    allocated_structure,
    complexity,
    initialise,
)


@dataclass(frozen=True)
class FixedAllocation(Method):
    """Train the compact network of an allocation from scratch.

    Args:
        allocation: The allocation.
        repair: Whether to repair filters that would read nothing instead of refusing them.
        assignments: Group of every filter by layer, where it matters which filters they are: residual connections
            add filters to their namesakes. Dealt in order if None.
    """

    allocation: Allocation
    repair: bool = False
    assignments: Mapping[str, Sequence[int]] | None = None

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> FixedSystem:
        """Build the compact network."""
        self.allocation.check_fits(spec.filters, spec.task_names)
        if self.assignments is None:
            builder = AllocatedBuilder.from_allocation(self.allocation, spec.dimensions, spec.norm, repair=self.repair)
        else:
            assignments = {name: torch.tensor(groups) for name, groups in self.assignments.items()}
            builder = AllocatedBuilder(assignments, len(spec.tasks), spec.dimensions, spec.norm, repair=self.repair)
        network = spec.build(builder)
        initialise(network, randomness.weights)
        return FixedSystem(
            network.to(device),
            spec,
            builder.allocation(spec.task_names),
            allocated_structure(builder.assignments, separate=False),
            tuple(builder.repairs),
        )


class FixedSystem(System):
    """A plain network: it predicts as it trains.

    Args:
        network: The compact network.
        spec: What built it.
        allocation: The allocation as built.
        structure: What rebuilds the network.
        repairs: What had to be repaired to build it.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        spec: NetworkSpec,
        allocation: Allocation,
        structure: Structure,
        repairs: tuple[str, ...] = (),
    ) -> None:
        super().__init__(network, spec)
        self._allocation, self._structure, self._repairs = allocation, structure, repairs

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the network itself, whose running statistics fit it."""
        del calibration
        return self.network

    def allocation(self) -> Allocation:
        """Return the allocation as built."""
        return self._allocation

    def structure(self) -> Structure:
        """Return the network's own."""
        return self._structure

    def repairs(self) -> tuple[str, ...]:
        """Return what had to be repaired."""
        return self._repairs

    def complexity(self) -> Complexity:
        """Return the network's own."""
        return complexity(self.network, self.spec.image_shape)
