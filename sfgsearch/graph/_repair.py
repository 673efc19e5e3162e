"""Assignments that leave a filter or a task without anything to read: refused, or repaired."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sfgsearch.errors import AllocationError
from sfgsearch.graph._analysis import Analysis, ChannelSpace
from sfgsearch.graph._compact import used_rows


def check_assignment(analysis: Analysis, assignment: Tensor) -> None:
    """Check that no shared filter, and no task in any channel space, would read nothing.

    Args:
        analysis: The network.
        assignment: Group of every filter, int64 of shape (F,); T+1 where it is off.

    Raises:
        AllocationError: If one would.
    """
    rows = analysis.groups_by_row(assignment)
    for space in analysis.spaces:
        dead = _dead_shared(analysis, space, rows)
        if len(dead):
            raise AllocationError(
                f"layer {space.name!r} has {len(dead)} shared filters, but no layer below it shares any, so they would "
                "read nothing; share filters below, or give these to the tasks"
            )
        for task in _tasks_without_input(analysis, space, rows):
            raise AllocationError(
                f"layer {space.name!r} gives task {task} (counted from 0) nothing to read; give it a filter of its own "
                "or a shared one"
            )


def repair_assignment(
    analysis: Analysis, assignment: Tensor, preferences: Tensor | None = None
) -> tuple[Tensor, list[str]]:
    """Give what would read nothing something to read, space by space in depth order.

    A space with fewer filters than tasks shares one at least, and every space that this one reads from does. Other
    shared filters that read nothing go to the tasks, each to the one that preferences rank highest. A task that would
    read nothing from a space gets the filter of another task that fits it best.

    Args:
        analysis: The network.
        assignment: Group of every filter, int64 of shape (F,); T+1 where it is off.
        preferences: Scores of shape (F, T+1), such as log probabilities; filters are dealt in turn if None.

    Returns:
        The assignment and one sentence for every repair.
    """
    rows = analysis.groups_by_row(assignment)
    num_tasks = analysis.num_tasks
    repairs = _share_in_narrow_spaces(analysis, rows, preferences)
    for space in analysis.spaces:
        dead = _dead_shared(analysis, space, rows)
        if len(dead):
            rows[dead] = _scores(preferences, dead, num_tasks).argmax(1)
            repairs.append(f"layer {space.name}: {len(dead)} shared filters would read nothing and went to the tasks")
        for task in _tasks_without_input(analysis, space, rows):
            own = rows[space.rows]
            spare = (own.bincount(minlength=num_tasks + 1)[own] > 1).nonzero().flatten() + space.first
            rows[_preferred(preferences, spare, task)] = task
            repairs.append(f"layer {space.name}: task {task} would read nothing and got one filter")
    return rows[1 : 1 + analysis.num_filters], repairs


def _share_in_narrow_spaces(analysis: Analysis, rows: Tensor, preferences: Tensor | None) -> list[str]:
    """Share a filter, in place, of every space with fewer filters than tasks, and one in each layer below it."""
    shared, repairs = analysis.num_tasks, list[str]()
    for space in analysis.spaces:
        candidates = torch.arange(space.rows.start, space.rows.stop)
        while space.num_filters < analysis.num_tasks and len(candidates):
            there = candidates[rows[candidates] == shared]
            row = int(there[0]) if len(there) else _preferred(preferences, candidates, shared)
            if not len(there):
                rows[row] = shared
                (name,) = (other.name for other in analysis.spaces if row in range(other.rows.start, other.rows.stop))
                because = f"since layer {space.name} has fewer filters than tasks"
                repairs.append(f"layer {name}: one filter is shared, {because}")
            candidates = _read_first(analysis, row)
    return repairs


def _read_first(analysis: Analysis, row: int) -> Tensor:
    """Return the filters that the first layer reads which writes a filter; empty if it reads the image."""
    layer = next(layer for layer in analysis.layers if row in layer.writes)
    reads: Tensor = layer.reads[(layer.writes == row).any(1)][0]
    return reads if layer.is_masked and bool(reads.all()) else reads[:0]


def unread_filters(analysis: Analysis, assignment: Tensor) -> list[str]:
    """Return a sentence for every channel space with filters that nothing reads: compact networks leave them out."""
    rows = analysis.groups_by_row(assignment)
    used = used_rows(analysis, rows)
    found = []
    for space in analysis.spaces:
        groups, is_used = rows[space.rows], used[space.rows]
        for group in range(analysis.num_tasks):
            unread = int(((groups == group) & ~is_used).sum())
            if unread:
                found.append(
                    f"layer {space.name}: {unread} filters of task {group} would be read by nothing and were left out"
                )
    return found


def _dead_shared(analysis: Analysis, space: ChannelSpace, rows: Tensor) -> Tensor:
    """Return the rows of a space's shared filters that read nothing in any of the layers that write them."""
    shared = analysis.num_tasks
    candidates = (rows[space.rows] == shared).nonzero().flatten() + space.first
    alive = torch.zeros(len(rows), dtype=torch.bool)
    for layer in analysis.layers:
        if layer.weight not in space.layers:
            continue
        for writes, reads in zip(layer.writes, layer.reads, strict=True):
            if not layer.is_masked or bool(((rows[reads] == shared) | (rows[reads] == -1)).any()):
                alive[writes] = True
    return candidates[~alive[candidates]]


def _tasks_without_input(analysis: Analysis, space: ChannelSpace, rows: Tensor) -> Sequence[int]:
    """Return the tasks that read nothing from a space."""
    present = set(rows[space.rows].tolist())
    return [] if analysis.num_tasks in present else [t for t in range(analysis.num_tasks) if t not in present]


def _preferred(preferences: Tensor | None, rows: Tensor, group: int) -> int:
    """Return the row that a group prefers."""
    return int(rows[_scores(preferences, rows, group + 1)[:, group].argmax()])


def _scores(preferences: Tensor | None, rows: Tensor, num_groups: int) -> Tensor:
    """Return how well each of some rows fits each group: preferences, or a round robin."""
    if preferences is not None:
        return preferences.detach().cpu()[rows - 1, :num_groups].double()
    return nn.functional.one_hot(torch.arange(len(rows)) % num_groups, num_groups).double()
