"""Training under a fixed allocation: searched, manual and retrained learned architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sfgsearch._apportion import apportion
from sfgsearch._registry import manual_methods
from sfgsearch.allocation import Allocation
from sfgsearch.graph import check_assignment, repair_assignment, unread_filters
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.nn import (
    AssignedNetwork,
    Complexity,
    NetworkSpec,
    SingleTaskNetworks,
    Structure,
    allocated_structure,
    assignment_rows,
    complexity,
    count_assignment,
    deal,
    deal_by_weight,
    rows_by_space,
    single_task_structure,
)


@dataclass(frozen=True)
class FixedAllocation(Method):
    """Train the network of an allocation from scratch.

    Training masks the weights of the plain network; what predicts is the compact network.

    Args:
        allocation: The allocation; a full network per task if it gives every task a full-width set of filters.
        repair: Whether to repair filters that would read nothing instead of refusing them.
        assignments: Group of every filter by channel space, where it matters which filters they are. Dealt in order
            if None; of networks that are pretrained, see :func:`~sfgsearch.nn.deal_by_weight`.
    """

    allocation: Allocation
    repair: bool = False
    assignments: Mapping[str, Sequence[int]] | None = None

    def rescaled(self, given: NetworkSpec, wanted: NetworkSpec) -> FixedAllocation:
        """Return the allocation with each group's share of every channel space, filters that are off included.

        Which filters are whose is dealt anew, and repaired.
        """
        tasks = wanted.task_names
        if self.allocation == Allocation.single_task(given.filters, tasks):
            return FixedAllocation(Allocation.single_task(wanted.filters, tasks))
        assignment = {}
        for layer in self.allocation.layers:
            off = given.filters[layer.name] - layer.num_filters
            number, shared_first = wanted.filters[layer.name], [layer.shared, *layer.counts[:-1], off]
            shared, *own, off = apportion(number, shared_first)  # ties go to shared, which all can read
            groups = torch.arange(len(tasks) + 2)
            assignment[layer.name] = groups.repeat_interleave(torch.tensor([*own, shared, off]))
        rows, _ = repair_assignment(wanted.analysis, assignment_rows(wanted.analysis, assignment))
        repaired = rows_by_space(wanted.analysis, rows)
        allocation = count_assignment(repaired, tasks)
        return FixedAllocation(allocation, True, {name: groups.tolist() for name, groups in repaired.items()})

    def build(self, spec: NetworkSpec, randomness: Randomness, device: torch.device) -> System:
        """Build the network."""
        self.allocation.check_fits(spec.filters, spec.task_names, some_off=self.assignments is not None)
        if len(spec.tasks) > 1 and self.allocation == Allocation.single_task(spec.filters, spec.task_names):
            networks = SingleTaskNetworks.of(spec, randomness.weights)
            return FixedSystem(networks.to(device), spec, self.allocation, single_task_structure())
        plain = spec.build(randomness.weights)
        assignment = self.assign(spec, plain)
        rows, repairs = assignment_rows(spec.analysis, assignment), list[str]()
        if self.repair:
            rows, repairs = repair_assignment(spec.analysis, rows)
        else:
            check_assignment(spec.analysis, rows)
        repairs += unread_filters(spec.analysis, rows)
        assignment = rows_by_space(spec.analysis, rows)
        network = AssignedNetwork(plain, spec.analysis, assignment, spec.task_names).to(device)
        return AssignedSystem(network, spec, tuple(repairs))

    def assign(self, spec: NetworkSpec, plain: nn.Module) -> dict[str, torch.Tensor]:
        """Return the group of every filter, by channel space: as given, or dealt.

        Args:
            spec: The network.
            plain: The plain network, with the weights that it starts from.
        """
        if self.assignments is not None:
            return {name: torch.tensor(groups) for name, groups in self.assignments.items()}
        if spec.is_pretrained:
            return deal_by_weight(self.allocation, spec.analysis, plain)
        return deal(self.allocation)


class FixedSystem(System):
    """A plain network: it predicts as it trains."""

    def __init__(self, network: nn.Module, spec: NetworkSpec, allocation: Allocation, structure: Structure) -> None:
        super().__init__(network, spec)
        self._allocation, self._structure = allocation, structure

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the network itself, whose running statistics fit it."""
        del calibration
        return self.network

    def allocation(self) -> Allocation:
        """Return the allocation."""
        return self._allocation

    def structure(self) -> Structure:
        """Return the network's own."""
        return self._structure

    def complexity(self) -> Complexity:
        """Return the network's own."""
        return complexity(self.network, self.spec.image_shape)


class AssignedSystem(System):
    """A network of masked weights under an assignment that stands still."""

    network: AssignedNetwork

    def __init__(self, network: AssignedNetwork, spec: NetworkSpec, repairs: tuple[str, ...] = ()) -> None:
        super().__init__(network, spec)
        self._repairs = repairs

    def predictor(self, calibration: Calibration) -> nn.Module:
        """Return the compact network, whose running statistics are those of training."""
        del calibration
        return self.network.compact()

    def snapshot(self, calibration: Calibration) -> nn.Module:
        """Return the network itself."""
        del calibration
        return self.network

    def allocation(self) -> Allocation:
        """Return the allocation as built."""
        return count_assignment(self.network.assignment, self.spec.task_names)

    def structure(self) -> Structure:
        """Return that of the compact network."""
        return allocated_structure(self.network.assignment, in_streams=self.network.runs_in_streams)

    def repairs(self) -> tuple[str, ...]:
        """Return what had to be repaired."""
        return self._repairs

    def complexity(self) -> Complexity:
        """Return those of the compact network."""
        return complexity(self.network.compact(), self.spec.image_shape)


@manual_methods.register("single_task")
def single_task(spec: NetworkSpec) -> Method:
    """Train one full-width network per task; nothing is shared."""
    return FixedAllocation(Allocation.single_task(spec.filters, spec.task_names))


@manual_methods.register("hard_sharing")
def hard_sharing(spec: NetworkSpec) -> Method:
    """Share every filter among all tasks (Caruana, 1997); only heads differ."""
    return FixedAllocation(Allocation.hard_sharing(spec.filters, spec.task_names))


@manual_methods.register("equal")
def equal(spec: NetworkSpec) -> Method:
    """Give every group an equal part of each layer: thirds for two tasks."""
    return FixedAllocation(Allocation.equal(spec.filters, spec.task_names), repair=True)
