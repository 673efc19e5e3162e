"""The constant-probabilities baseline: gates are sampled, but nothing learns how."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._sampled import monte_carlo_ensemble, sample_assignments
from sfgsearch.nn import (
    Complexity,
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
    r"""Draw every filter's group anew at each step with p = 1/(T+1), and predict by Monte Carlo.

    .. math:: z_k = \mathrm{softmax}((\log p + g) / \tau), \qquad p = 1 / (T + 1), \qquad g \sim \mathrm{Gumbel}(0, 1)

    A baseline of Bragman et al. (ICCV 2019): what random grouping as a regulariser is worth without learning it. As
    theirs it trains under soft gates that cool down, in T+1 streams: under hard ones every step changes what all
    filters read, and narrow networks hardly learn. Its predictions average compact networks of assignments drawn from
    p, each with batch-norm statistics of its own; the authors average passes with the statistics of the batch.

    Args:
        samples: S, the number of assignments that prediction averages over.
        temperature: The schedule, per step.
    """

    samples: int = 8
    temperature: TemperatureSchedule = field(default_factory=TemperatureSchedule)

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> ConstantSystem:
        """Build the network with groups that do not learn."""
        sampling = GateSampling(generator=randomness.gates)
        groups = FilterGroups(spec.analysis.num_filters, len(spec.tasks), learn=False, sampling=sampling)
        network = GroupedNetwork(spec.build(randomness.weights), spec.analysis, spec.task_names, groups, "streams")
        return ConstantSystem(network.to(device), spec, self)


class ConstantSystem(System):
    """A network under random assignments.

    Args:
        network: The network in groups.
        spec: What built it.
        method: The settings.
    """

    network: GroupedNetwork

    def __init__(self, network: GroupedNetwork, spec: NetworkSpec, method: ConstantProbabilities) -> None:
        super().__init__(network, spec)
        self._method = method

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature of the draws."""
        self.network.groups.sampling.temperature = self._method.temperature(step, steps)

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
        return sample_assignments(self.network, self._method.samples)

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
