"""Stochastic Filter Groups: learned jointly with the weights, or drawn with constant probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.graph import repair_assignment
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._settings import SFGSettings
from sfgsearch.nn import (
    Complexity,
    FilterGroups,
    GateSampling,
    GroupedNetwork,
    MonteCarloEnsemble,
    NetworkSpec,
    Structure,
    allocated_structure,
    complexity,
    deal,
    monte_carlo_structure,
    reestimate_statistics,
)


def sample_assignments(network: GroupedNetwork, samples: int) -> list[dict[str, Tensor]]:
    """Return S assignments drawn from the probabilities; the same draws whenever asked.

    Args:
        network: A network in groups.
        samples: S.
    """
    generator = torch.Generator().manual_seed(0)
    groups, analysis = network.groups, network.analysis
    probs = groups.choice_probs.detach().cpu()
    draws = [torch.multinomial(probs, 1, generator=generator).squeeze(1) for _ in range(samples)]
    return [network.by_space(repair_assignment(analysis, draw, groups.log_probs)[0]) for draw in draws]


def monte_carlo_ensemble(
    network: GroupedNetwork, spec: NetworkSpec, assignments: Sequence[dict[str, Tensor]], calibration: Calibration
) -> MonteCarloEnsemble:
    """Return the ensemble of the compact networks of assignments, each with batch-norm statistics of its own.

    Args:
        network: The network in groups.
        spec: What built it.
        assignments: Group of every filter by channel space, for every member.
        calibration: Returns a fresh pass over training images.
    """
    members = [network.compact(assignment) for assignment in assignments]
    for member in members:
        reestimate_statistics(member, calibration())
    return MonteCarloEnsemble(members, {task.name: task.average for task in spec.tasks})


_STEPS_OF_STATISTICS = 50
"""Steps after which running statistics, with torch's momentum of 0.1, are of the last gates: 0.9^50 = 0.005."""


@dataclass(frozen=True)
class StochasticFilterGroups(Method):
    r"""Learn for every filter whether it serves one task or all (Bragman et al., ICCV 2019).

    .. math:: z_k \sim \mathrm{Cat}(p_k)

    with the draws relaxed by Gumbel-Softmax, and p trained with the weights on the evidence lower bound; see
    :func:`~sfgsearch.functional.variational_objective`. The network runs dense, as the plain one with masked weights
    (:class:`~sfgsearch.graph.DenseNetwork`), or in streams (:class:`~sfgsearch.graph.StreamsNetwork`).

    For the last part of the steps gates settle: they stay at their most probable groups, their probabilities stand
    still, and the weights learn on. The derived network is then a trained network.

    Args:
        settings: Temperature, KL weight, prior, initialisation and learning rate of the probabilities.
    """

    settings: SFGSettings = field(default_factory=SFGSettings)

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> SFGSystem:
        """Build the network in groups."""
        settings, analysis = self.settings, spec.analysis
        priors = settings.prior.per_layer(len(analysis.spaces), len(spec.tasks))
        initial = [
            settings.initial.draw(space.num_filters, prior, randomness.weights)
            for space, prior in zip(analysis.spaces, priors, strict=True)
        ]
        groups = FilterGroups(
            analysis.num_filters,
            len(spec.tasks),
            priors,
            initial=torch.cat(initial),
            learn_prior=settings.prior.family == "learned",
            sampling=GateSampling(hard=settings.hard, generator=randomness.gates),
            off=settings.off,
            sizes=list(analysis.filters.values()),
        )
        network = spec.build(randomness.weights)
        grouped = GroupedNetwork(network, analysis, spec.task_names, groups, settings.execution)
        return SFGSystem(grouped.to(device), spec, settings)


class SFGSystem(System):
    """A network whose filter groups learn.

    Args:
        network: The network in groups.
        spec: What built it.
        settings: Of the method.
    """

    network: GroupedNetwork

    def __init__(self, network: GroupedNetwork, spec: NetworkSpec, settings: SFGSettings) -> None:
        super().__init__(network, spec)
        self.settings, self.kl_weight = settings, settings.kl_weight
        self.hold = 1 - settings.settle
        self._steps_settled = 0

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the logits of groups and learned priors."""
        return [
            {"params": self.network.weights(), "lr": lr, "scheduled": True},
            {"params": list(self.network.groups.parameters()), "lr": self.settings.lr, "scheduled": False},
        ]

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature of the draws over the steps in which gates learn, and whether they have settled."""
        learning, groups = max(round(steps * self.hold), 1), self.network.groups
        self._steps_settled = max(step + 1 - learning, 0)
        if groups.is_fixed != bool(self._steps_settled):
            self.network.settle(settled=bool(self._steps_settled))
        groups.sampling.temperature = self.settings.temperature(min(step, learning - 1), learning)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state, with the assignment at which its gates have settled."""
        super().load_state_dict(state)
        self.network.settle(settled=bool(self._steps_settled))

    def kl(self) -> Tensor:
        """Return the divergence of all filters, which pulls at nothing once gates have settled."""
        groups = self.network.groups
        return groups.kl().detach() if groups.is_fixed else groups.kl()

    def penalty(self) -> Tensor | float:
        """Return the price of the expected multiply-adds, none once gates have settled."""
        if not self.settings.price or self.network.groups.is_fixed:
            return 0.0
        return self.settings.price * self.network.expected_cost()

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the compact network of the most probable allocation, with statistics that fit it."""
        return self._with_statistics(self.network.compact(), calibration)

    def snapshot(self, calibration: Calibration) -> nn.Module:
        """Return the network under its most probable gates, with statistics that fit them."""
        return self._with_statistics(self.network.bake(), calibration)

    def _with_statistics(self, network: nn.Module, calibration: Calibration) -> nn.Module:
        """Return a derived network, re-estimating statistics that come from drawn gates, or from all streams."""
        if self._steps_settled < _STEPS_OF_STATISTICS or self.settings.execution == "streams":
            reestimate_statistics(network, calibration())
        return network

    def monte_carlo(self, samples: int, calibration: Calibration) -> MonteCarloEnsemble:
        """Return the ensemble of assignments drawn from the learned probabilities."""
        return monte_carlo_ensemble(self.network, self.spec, sample_assignments(self.network, samples), calibration)

    def allocation(self) -> Allocation:
        """Return the most probable allocation, with mean probabilities and entropy per channel space."""
        return self.network.allocation()

    def structure(self) -> Structure:
        """Return that of the compact network."""
        return allocated_structure(self.network.derive()[0], in_streams=self.network.runs_in_streams)

    def repairs(self) -> tuple[str, ...]:
        """Return what the most probable allocation needed."""
        return tuple(self.network.derive()[1])

    def complexity(self) -> Complexity:
        """Return those of the compact network."""
        return complexity(self.network.compact(), self.spec.image_shape)

    def probabilities(self) -> dict[str, Tensor]:
        """Return every channel space's probabilities (K, T+1)."""
        return self.network.probabilities()


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
