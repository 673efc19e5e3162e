"""Stochastic Filter Groups: allocations learned jointly with the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._sampled import monte_carlo_ensemble, sample_derived
from sfgsearch.methods._settings import SFGSettings
from sfgsearch.nn import (
    Complexity,
    Derived,
    FilterGroups,
    GateSampling,
    MonteCarloEnsemble,
    MultiTaskNetwork,
    NetworkSpec,
    SFGBuilder,
    Structure,
    allocated_structure,
    complexity,
    derive,
    initialise,
    reestimate_statistics,
    sfg_layers,
)


@dataclass(frozen=True)
class StochasticFilterGroups(Method):
    r"""Learn for every filter whether it serves one task or all (Bragman et al., ICCV 2019).

    .. math:: z_k \sim \mathrm{Cat}(p_k), \qquad F_g = z_{\cdot g} \cdot \phi(\mathrm{norm}_g(W * x_g + b)), \qquad
        x'_t = F_t + F_s, \quad x'_s = F_s

    with the draws relaxed by Gumbel-Softmax, and p trained with W on the evidence lower bound; see
    :class:`~sfgsearch.nn.SFGConv` and :func:`~sfgsearch.functional.variational_objective`.

    Args:
        settings: Temperature, KL weight, prior, initialisation and learning rate of the probabilities.
    """

    settings: SFGSettings = field(default_factory=SFGSettings)

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> SFGSystem:
        """Build the masked network."""
        sampling = GateSampling(hard=self.settings.hard, generator=randomness.gates)
        priors = self.settings.prior.per_layer(len(spec.filters), len(spec.tasks))
        groups = {
            name: FilterGroups(
                num_filters,
                len(spec.tasks),
                prior,
                initial=self.settings.initial.draw(num_filters, prior, randomness.weights),
                learn_prior=self.settings.prior.family == "learned",
                sampling=sampling,
            )
            for (name, num_filters), prior in zip(spec.filters.items(), priors, strict=True)
        }
        network = spec.build(SFGBuilder(len(spec.tasks), spec.dimensions, spec.norm, groups))
        initialise(network, randomness.weights)
        return SFGSystem(network.to(device), spec, self.settings, sampling)


class SFGSystem(System):
    """A masked network whose filter groups learn.

    Args:
        network: The masked network.
        spec: What built it.
        settings: Of the method.
        sampling: How all its layers draw gates.
    """

    def __init__(
        self, network: MultiTaskNetwork, spec: NetworkSpec, settings: SFGSettings, sampling: GateSampling
    ) -> None:
        super().__init__(network, spec)
        self.settings, self.sampling = settings, sampling
        self.kl_weight = settings.kl_weight
        self._groups = {name: layer.groups for name, layer in sfg_layers(network).items()}
        self._latest: tuple[list[tuple[int, int]], Derived] | None = None

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the weights, and apart from them the logits of groups and learned priors."""
        logits = [parameter for groups in self._groups.values() for parameter in groups.parameters()]
        known = {id(parameter) for parameter in logits}
        weights = [parameter for parameter in self.network.parameters() if id(parameter) not in known]
        return [
            {"params": weights, "lr": lr, "scheduled": True},
            {"params": logits, "lr": self.settings.lr, "scheduled": False},
        ]

    def begin_step(self, step: int, steps: int) -> None:
        """Set the temperature of all layers."""
        self.sampling.temperature = self.settings.temperature(step, steps)

    def kl(self) -> Tensor:
        """Return the sum of the layers' divergences."""
        return torch.stack([groups.kl() for groups in self._groups.values()]).sum()

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the compact network of the most probable allocation, its statistics re-estimated."""
        compact = derive(self.network, self.spec).network
        reestimate_statistics(compact, calibration())
        return compact

    def monte_carlo(self, samples: int, calibration: Calibration) -> MonteCarloEnsemble:
        """Return the ensemble of assignments drawn from the learned probabilities."""
        return monte_carlo_ensemble(sample_derived(self.network, self.spec, samples), self.spec, calibration)

    def allocation(self) -> Allocation:
        """Return the most probable allocation, with mean probabilities and entropy per layer."""
        return self._derived().allocation

    def structure(self) -> Structure:
        """Return that of the compact network."""
        return allocated_structure(self._derived().assignments, separate=True)

    def repairs(self) -> tuple[str, ...]:
        """Return what the most probable allocation needed."""
        return self._derived().repairs

    def complexity(self) -> Complexity:
        """Return those of the compact network."""
        return complexity(self._derived().network, self.spec.image_shape)

    def _derived(self) -> Derived:
        """Return what the network derives to as it is now; for reading only, since several may get the same."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        versions = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._latest is None or self._latest[0] != versions:
            self._latest = versions, derive(self.network, self.spec)
        return self._latest[1]

    def probabilities(self) -> dict[str, Tensor]:
        """Return every layer's probabilities (K, T+1)."""
        return {name: groups.probs.detach().cpu() for name, groups in self._groups.items()}
