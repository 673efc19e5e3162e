"""Assignments: the group of every filter, by channel space or in one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError
from sfgsearch.graph import BACKBONE, Analysis, parameter_of

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


def deal_by_weight(allocation: Allocation, analysis: Analysis, network: nn.Module) -> dict[str, Tensor]:
    """Deal filters that know something already: those that matter most are shared, the others are dealt in turn.

    A filter matters as much as the weights that read it are large (the L1 norm by which filters are pruned, Li et al.,
    ICLR 2017); one that only heads read, as much as those that write it. Shared filters lose nothing but what they
    read of tasks' own filters, so that most of what the network computes is left.

    Args:
        allocation: The numbers of filters.
        analysis: The network's analysis.
        network: The plain network.
    """
    scores = rows_by_space(analysis, filter_scores(analysis, network))
    dealt = {}
    for layer in allocation.layers:
        *own, shared = layer.counts
        order = scores[layer.name].argsort(descending=True, stable=True)
        groups = torch.full((len(order),), len(own))
        groups[order[shared:]] = _in_turn(own)
        dealt[layer.name] = groups
    return dealt


def _in_turn(counts: Sequence[int]) -> Tensor:
    """Return each task's number as often as it counts, spread evenly."""
    turns = [((turn + 0.5) / count, task) for task, count in enumerate(counts) for turn in range(count)]
    return torch.tensor([task for _, task in sorted(turns)], dtype=torch.int64)


def filter_scores(analysis: Analysis, network: nn.Module) -> Tensor:
    """Return the L1 norms of the weights in the backbone that read each filter, or else write it, shape (F,)."""
    read, written = torch.zeros(2, 1 + analysis.num_filters + len(analysis.heads)).unbind()
    for layer in analysis.layers:
        weight = parameter_of(network, layer.weight).detach().abs().float().cpu()
        parts = weight.view(len(layer.writes), -1, weight.shape[1], weight[0, 0].numel()).sum(3)
        by_first, by_second = parts.sum(2), parts.sum(1)
        writes, reads = (by_second, by_first) if layer.transposed else (by_first, by_second)
        written.index_add_(0, layer.writes.flatten(), writes.flatten())
        if layer.weight.startswith(f"{BACKBONE}."):
            read.index_add_(0, layer.reads.flatten(), reads.flatten())
    return torch.where(read > 0, read, written)[1 : 1 + analysis.num_filters]
