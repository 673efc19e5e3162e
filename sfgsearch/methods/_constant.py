"""The constant-probabilities baseline: gates are sampled, but nothing learns how."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._sampled import monte_carlo_ensemble, sample_derived
from sfgsearch.nn import (
    Complexity,
    Derived,
    FilterGroups,
    GateSampling,
    MultiTaskNetwork,
    NetworkSpec,
    SFGBuilder,
    Structure,
    allocated_structure,
    complexity,
    initialise,
    monte_carlo_structure,
    sfg_layers,
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
        """Build the masked network with groups that do not learn."""
        sampling = GateSampling(hard=True, generator=randomness.gates)
        groups = {
            name: FilterGroups(num_filters, len(spec.tasks), learn=False, sampling=sampling)
            for name, num_filters in spec.filters.items()
        }
        network = spec.build(SFGBuilder(len(spec.tasks), spec.dimensions, spec.norm, groups))
        initialise(network, randomness.weights)
        return ConstantSystem(network.to(device), spec, self.samples)


class ConstantSystem(System):
    """A masked network under random assignments.

    Args:
        network: The masked network.
        spec: What built it.
        samples: S.
    """

    def __init__(self, network: MultiTaskNetwork, spec: NetworkSpec, samples: int) -> None:
        super().__init__(network, spec)
        self._samples = samples

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the ensemble of sampled compact networks, each with statistics of its own."""
        return monte_carlo_ensemble(self._members(), self.spec, calibration)

    def snapshot(self, calibration: Calibration) -> nn.Module:
        """Return an ensemble of at most two samples."""
        few = sample_derived(self.network, self.spec, min(2, self._samples))
        return monte_carlo_ensemble(few, self.spec, calibration)

    def structure(self) -> Structure:
        """Return the ensemble's."""
        members = [allocated_structure(member.assignments, separate=True) for member in self._members()]
        return monte_carlo_structure(members)

    def _members(self) -> list[Derived]:
        return sample_derived(self.network, self.spec, self._samples)

    def allocation(self) -> Allocation:
        """Return the expected counts: equal parts."""
        equal = Allocation.equal(self.spec.filters, self.spec.task_names)
        groups = sfg_layers(self.network)
        layers = (
            LayerAllocation(
                layer.name,
                layer.counts,
                tuple(groups[layer.name].groups.probs.double().mean(0).tolist()),
                float(groups[layer.name].groups.entropy().double().mean()),
            )
            for layer in equal.layers
        )
        return Allocation(group_names(self.spec.task_names), tuple(layers))

    def complexity(self) -> Complexity:
        """Return the masked network's parameters, which all samples share, and the multiply-adds of S samples."""
        parameters = complexity(self.network, self.spec.image_shape).parameters
        macs = sum(complexity(member.network, self.spec.image_shape).macs for member in self._members())
        return Complexity(parameters, macs)

    def probabilities(self) -> dict[str, Tensor]:
        """Return every layer's constant probabilities (K, T+1)."""
        return {name: layer.groups.probs.detach().cpu() for name, layer in sfg_layers(self.network).items()}
