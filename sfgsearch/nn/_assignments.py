"""Assignments: the group of every filter, by channel space or in one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError
from sfgsearch.graph import Analysis

Assignment = Mapping[str, Tensor]
"""Group of every filter, int64 of shape (K,), T+1 where it is off, by channel space in depth order."""


def rows_by_space(analysis: Analysis, rows: Tensor, dim: int = 0) -> dict[str, Tensor]:
    """Return a tensor with an entry for every filter along a dimension by channel space."""
    return dict(zip(analysis.filters, torch.split(rows, list(analysis.filters.values()), dim), strict=True))


def assignment_rows(analysis: Analysis, assignment: Assignment) -> Tensor:
    """Return the groups of all filters, int64 of shape (F,).

    Raises:
        AllocationError: If the assignment does not fit the network.
    """
    if set(assignment) != set(analysis.filters):
        odd = next(iter(set(assignment) ^ set(analysis.filters)))
        raise AllocationError(f"the backbone has layers {', '.join(analysis.filters)}; {odd!r} does not fit")
    found = []
    for name, number in analysis.filters.items():
        groups = torch.as_tensor(assignment[name], dtype=torch.int64).cpu()
        if groups.shape != (number,) or bool(((groups < 0) | (groups > analysis.num_tasks + 1)).any()):
            raise AllocationError(
                f"layer {name!r}: an assignment is one group 0..{analysis.num_tasks} per filter, or "
                f"{analysis.num_tasks + 1} where it is off, shape ({number},)"
            )
        found.append(groups)
    return torch.cat(found)


def count_assignment(assignment: Assignment, tasks: Sequence[str]) -> Allocation:
    """Return an assignment as an allocation.

    Raises:
        AllocationError: If a task would read nothing from a channel space.
    """
    number = len(tasks) + 1
    counts = ((name, groups.bincount(minlength=number)[:number].tolist()) for name, groups in assignment.items())
    return Allocation(group_names(tasks), tuple(LayerAllocation(name, tuple(count)) for name, count in counts))


def deal(allocation: Allocation) -> dict[str, Tensor]:
    """Deal filters to groups in order: the first to the first task, the last to shared."""
    groups = torch.arange(len(allocation.groups))
    return {layer.name: groups.repeat_interleave(torch.tensor(layer.counts)) for layer in allocation.layers}
