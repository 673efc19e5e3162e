"""Stochastic Filter Groups: learned jointly with the weights, or drawn with constant probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.graph import repair_assignment
from sfgsearch.methods._method import Calibration, Method, Randomness, System, check_in
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

_STEPS_OF_STATISTICS = 50
"""Steps after which running statistics, with torch's momentum of 0.1, are of the last gates: 0.9^50 = 0.005."""


class GroupedSystem(System):
    """A network in groups, of which assignments can be sampled."""

    network: GroupedNetwork

    def assignments(self, samples: int) -> list[dict[str, Tensor]]:
        """Return S assignments drawn from the probabilities; the same draws whenever asked."""
        generator = torch.Generator().manual_seed(0)
        groups, analysis = self.network.groups, self.network.analysis
        probs = groups.choice_probs.detach().cpu()
        draws = [torch.multinomial(probs, 1, generator=generator).squeeze(1) for _ in range(samples)]
        return [self.network.by_space(repair_assignment(analysis, draw, groups.log_probs)[0]) for draw in draws]

    def ensemble(self, samples: int, calibration: Calibration) -> MonteCarloEnsemble:
        """Return the ensemble of the compact networks of S assignments, each with batch-norm statistics of its own."""
        members = [self.network.compact(assignment) for assignment in self.assignments(samples)]
        for member in members:
            reestimate_statistics(member, calibration())
        return MonteCarloEnsemble(members, {task.name: task.average for task in self.spec.tasks})

    def probabilities(self) -> dict[str, Tensor]:
        """Return every channel space's probabilities (K, T+1)."""
        return self.network.probabilities()


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


class SFGSystem(GroupedSystem):
    """A network whose filter groups learn."""

    def __init__(self, network: GroupedNetwork, spec: NetworkSpec, settings: SFGSettings) -> None:
        super().__init__(network, spec)
        self.settings, self.kl_weight = settings, settings.kl_weight
        self.hold = 1 - settings.settle
        self._steps_settled = 0

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the logits of groups and learned priors."""
        return self.split_parameters(lr, self.network.groups.parameters(), self.settings.lr)

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
        return self.network.groups.kl()

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
        return self.ensemble(samples, calibration)

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


class ConstantSystem(GroupedSystem):
    """A network under random assignments."""

    def __init__(self, network: GroupedNetwork, spec: NetworkSpec, method: ConstantProbabilities) -> None:
        super().__init__(network, spec)
        self._method = method

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature of the draws."""
        self.network.groups.sampling.temperature = self._method.temperature(step, steps)

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the ensemble of sampled compact networks, each with statistics of its own."""
        return self.ensemble(self._method.samples, calibration)

    def snapshot(self, calibration: Calibration) -> nn.Module:
        """Return an ensemble of at most two samples."""
        return self.ensemble(min(self._method.samples, 2), calibration)

    def structure(self) -> Structure:
        """Return the ensemble's."""
        in_streams, assignments = self.network.runs_in_streams, self.assignments(self._method.samples)
        return monte_carlo_structure([allocated_structure(one, in_streams=in_streams) for one in assignments])

    def allocation(self) -> Allocation:
        """Return the expected counts: equal parts."""
        return self.network.allocation(deal(Allocation.equal(self.spec.filters, self.spec.task_names)))

    def complexity(self) -> Complexity:
        """Return the plain network's parameters, which all samples share, and the multiply-adds of S samples."""
        networks = map(self.network.compact, self.assignments(self._method.samples))
        macs = sum(complexity(network, self.spec.image_shape).macs for network in networks)
        return Complexity(sum(weight.numel() for weight in self.network.weights()), macs)


@manual_methods.register("constant_probabilities")
def constant_probabilities(spec: NetworkSpec, *, samples: int = 8) -> Method:
    """Sample groups with constant equal probabilities; predictions average over ``samples`` assignments.

    Raises:
        ValueError: If there are no samples, or more than 1000, which are as many networks.
    """
    del spec
    check_in((1, 1000), samples=samples)
    return ConstantProbabilities(samples)
