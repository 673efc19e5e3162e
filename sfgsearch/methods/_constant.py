"""The constant-probabilities baseline: gates are sampled, but nothing learns how."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._sampled import monte_carlo_ensemble, sample_assignments
from sfgsearch.nn import (
    Complexity,
    Execution,
    FilterGroups,
    GateSampling,
    GroupedNetwork,
    NetworkSpec,
    Structure,
    allocated_structure,
    complexity,
    deal,
    monte_carlo_structure,
)


@dataclass(frozen=True)
class ConstantProbabilities(Method):
    """Draw every filter's group anew at each step with p = 1/(T+1), and predict by Monte Carlo.

    A baseline of Bragman et al. (ICCV 2019): what random grouping as a regulariser is worth without learning it.

    Args:
        samples: S, the number of assignments that prediction averages over.
    """

    samples: int = 8

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> ConstantSystem:
        """Build the network with groups that do not learn."""
        sampling = GateSampling(hard=True, generator=randomness.gates)
        groups = FilterGroups(spec.analysis.num_filters, len(spec.tasks), learn=False, sampling=sampling)
        execution: Execution = "streams" if spec.analysis.parts else "dense"
        network = GroupedNetwork(spec.build(randomness.weights), spec.analysis, spec.task_names, groups, execution)
        return ConstantSystem(network.to(device), spec, self.samples)


class ConstantSystem(System):
    """A network under random assignments.

    Args:
        network: The network in groups.
        spec: What built it.
        samples: S.
    """

    network: GroupedNetwork

    def __init__(self, network: GroupedNetwork, spec: NetworkSpec, samples: int) -> None:
        super().__init__(network, spec)
        self._samples = samples

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the ensemble of sampled compact networks, each with statistics of its own."""
        return monte_carlo_ensemble(self.network, self.spec, self._assignments(), calibration)

    def snapshot(self, calibration: Calibration) -> nn.Module:
        """Return an ensemble of at most two samples."""
        few = self._assignments()[:2]
        return monte_carlo_ensemble(self.network, self.spec, few, calibration)

    def structure(self) -> Structure:
        """Return the ensemble's."""
        return monte_carlo_structure(
            [allocated_structure(one, in_streams=self.network.runs_in_streams) for one in self._assignments()]
        )

    def _assignments(self) -> list[dict[str, Tensor]]:
        return sample_assignments(self.network, self._samples)

    def allocation(self) -> Allocation:
        """Return the expected counts: equal parts."""
        return self.network.allocation(deal(Allocation.equal(self.spec.filters, self.spec.task_names)))

    def complexity(self) -> Complexity:
        """Return the plain network's parameters, which all samples share, and the multiply-adds of S samples."""
        shape = self.spec.image_shape
        macs = sum(complexity(self.network.compact(assignment), shape).macs for assignment in self._assignments())
        return Complexity(sum(weight.numel() for weight in self.network.weights()), macs)

    def probabilities(self) -> dict[str, Tensor]:
        """Return every channel space's constant probabilities (K, T+1)."""
        return self.network.probabilities()
