"""The interface between methods and the one trainer that serves them all, and the registry of manual methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation
from sfgsearch.nn import (
    Complexity,
    MonteCarloEnsemble,
    NetworkSpec,
    Structure,
    complexity,
    plain_state,
    reestimate_statistics,
)

LEARNING_RATES = (1e-12, 100.0)
TEMPERATURES = (1e-4, 1e4)
WEIGHTS = (0.0, 1e6)
"""Bounds of options, both included."""

Calibration = Callable[[], Iterable[Tensor]]
"""Returns a fresh pass over batches of training images, for the re-estimation of statistics."""


@dataclass
class Randomness:
    """The sources of randomness of one training, derived from its seed.

    Args:
        weights: Draws initial weights and probabilities, on the CPU.
        order: Shuffles the training data, on the CPU.
        gates: Draws gates, on the training device.
        augmentation: Draws changes to training images, on the CPU.
    """

    weights: torch.Generator
    order: torch.Generator
    gates: torch.Generator
    augmentation: torch.Generator

    @classmethod
    def from_seed(cls, seed: int, device: torch.device) -> Randomness:
        """Return four independent generators that the seed fixes."""
        root = torch.Generator().manual_seed(seed)
        devices = (torch.device("cpu"), torch.device("cpu"), device, torch.device("cpu"))
        seeds = [int(torch.randint(2**62, (), generator=root)) for _ in devices]
        return cls(*(torch.Generator(device).manual_seed(value) for device, value in zip(devices, seeds, strict=True)))


class System(ABC):
    """A network in training, and how its method trains and reads it.

    The defaults are those of a plain network.

    A training may be interrupted after any step and go on in another process, with a system that its method has built
    anew from the same seed, and must then come to the same numbers. So whatever changes in training must be one of

    - a parameter or persistent buffer of the network,
    - the state of a generator of :class:`Randomness`, which the trainer keeps,
    - what :meth:`begin_step` sets from the number of the step alone, such as a temperature, or
    - in :meth:`state_dict` and :meth:`load_state_dict`, which a system with more than that overrides: generators of
      its own, masks or counters outside the network.

    Draws must come from these generators, not from torch's own.

    Args:
        network: The network that is trained, on its device.
        spec: What built it.
    """

    kl_weight: float = 1.0

    hold: float = 0.0
    """Part of the steps, from the first, in which scheduled learning rates do not decay yet."""

    def __init__(self, network: nn.Module, spec: NetworkSpec) -> None:
        self.network, self.spec = network, spec

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups; ``lr`` is the learning rate of weights.

        A group with ``"scheduled": False`` keeps its learning rate where that of the weights decays.
        """
        return self.split_parameters(lr, [], lr)

    def split_parameters(
        self, lr: float, learned: Iterable[nn.Parameter], own_lr: float, *, scheduled: bool = False
    ) -> list[dict[str, Any]]:
        """Return the weights as one parameter group, and what a method learns beside them as another.

        Args:
            lr: Learning rate of the weights.
            learned: Parameters of the network that are no weights; without any there is one group.
            own_lr: Their learning rate.
            scheduled: Whether it decays with that of the weights.
        """
        apart = list(learned)
        known = set(map(id, apart))
        weights = [parameter for parameter in self.network.parameters() if id(parameter) not in known]
        groups: list[dict[str, Any]] = [{"params": weights, "lr": lr, "scheduled": True}]
        return [*groups, {"params": apart, "lr": own_lr, "scheduled": scheduled}] if apart else groups

    def begin_step(self, step: int, steps: int) -> None:
        """Prepare for optimiser step ``step`` (from zero) of ``steps``."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what changes in training as copies on the CPU; the network's parameters and buffers by default.

        A system that adds tensors gives them names with a slash, which those of the network do not have. The state of
        a generator is a tensor, too: ``generator.get_state()``.
        """
        return plain_state(self.network)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` of a system of the same method, seed and network returned.

        The trainer has called :meth:`begin_step` for the last step that the state has seen.

        Raises:
            RuntimeError: If they do not fit the network.
        """
        self.network.load_state_dict(state)

    def kl(self) -> Tensor:
        """Return the divergence of the allocation's posterior from its prior, a scalar in nats."""
        return torch.zeros((), device=next(self.network.parameters()).device)

    def penalty(self) -> Tensor | float:
        """Return what the objective adds besides losses and priors, a scalar in nats per example."""
        return 0.0

    @abstractmethod
    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the network that predicts as of now: images in, predictions by task name out."""

    def snapshot(self, calibration: Calibration) -> nn.Module:
        """Return a predictor for the report of an epoch, which may be a cheaper one than :meth:`predictor`."""
        return self.predictor(calibration)

    def monte_carlo(self, samples: int, calibration: Calibration) -> MonteCarloEnsemble | None:
        """Return the ensemble of S sampled networks, for methods that predict with another network than that."""
        del samples, calibration
        return None

    @abstractmethod
    def allocation(self) -> Allocation:
        """Return the allocation as of now.

        Methods that share filters otherwise than between one task and all describe themselves in these terms: a
        filter that serves several tasks counts as shared, one that serves none does not count.
        """

    @abstractmethod
    def structure(self) -> Structure:
        """Return what rebuilds the network of :meth:`predictor`."""

    @abstractmethod
    def complexity(self) -> Complexity:
        """Return parameters and multiply-adds of the network that predicts."""

    def repairs(self) -> tuple[str, ...]:
        """Return a sentence for filters that were moved for lack of input, or left out for lack of readers."""
        return ()

    def probabilities(self) -> dict[str, Tensor]:
        """Return every layer's group probabilities (K, T+1); empty for methods without any."""
        return {}


class SearchingSystem(System):
    """A network that predicts with another one, which is derived from it."""

    @abstractmethod
    def derived(self) -> nn.Module:
        """Return the network of the most probable architecture, with copies of the weights."""

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the derived network, its statistics re-estimated."""
        network = self.derived()
        reestimate_statistics(network, calibration())
        return network

    def complexity(self) -> Complexity:
        """Return those of the derived network."""
        return complexity(self.derived(), self.spec.image_shape)


class Method(ABC):
    """A way to find or fix an allocation."""

    @abstractmethod
    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> System:
        """Build a freshly initialised system.

        Raises:
            AllocationError: If the method's allocation does not fit the network.
            ValueError: If its settings do not fit the tasks.
        """

    def retraining(self, structure: Structure) -> Method:
        """Return what trains the architecture that a training of this method found, from scratch.

        That is the method itself, unless it searches for an architecture while it trains.
        """
        del structure
        return self

    def rescaled(self, given: NetworkSpec, wanted: NetworkSpec) -> Method:
        """Return the same method for the same network at another width.

        That is the method itself, unless it holds numbers of filters.

        Raises:
            AllocationError: If it cannot be carried over.
        """
        del given, wanted
        return self


def check_in(bounds: tuple[float, float], **options: float) -> None:
    """Check that options are between two bounds, both included.

    Raises:
        ValueError: If one is not.
    """
    low, high = bounds
    for name, number in options.items():
        if not low <= number <= high:
            raise ValueError(f"{name} must be from {low:g} to {high:g}, got {number}")
