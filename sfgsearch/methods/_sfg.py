"""Stochastic Filter Groups: allocations learned jointly with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._sampled import monte_carlo_ensemble, sample_assignments
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
    reestimate_statistics,
)

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
