"""Building the plain network of a fixed assignment, and repairing what could not be built."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError
from sfgsearch.nn._allocated import AllocatedConv
from sfgsearch.nn._blocks import AllocatedBlocks, MakeBlock
from sfgsearch.nn._builder import ConvRequest, LayerBuilder
from sfgsearch.nn._streams import StreamLayout
from sfgsearch.nn._unread import unread_parameters


class AllocatedBuilder(LayerBuilder):
    """Builds the plain convolutions of a fixed assignment of filters.

    A shared group whose stream carries nothing has dead filters. They are refused, or, with ``repair``, given to
    the tasks: each filter to the task that ``preferences`` ranks highest, evenly without preferences. A task that
    would read nothing is refused, or given a filter, likewise.

    Args:
        assignments: For every layer, the group of each filter, int64 of shape (K,).
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        repair: Whether to repair what cannot be built instead of refusing it.
        preferences: For every layer, scores of shape (K, T+1), such as log probabilities.
        separate: Give every stream blocks of its own, as a trained masked network has them; otherwise a task
            whose stream carries the shared channels only goes through the shared blocks.

    Attributes:
        repairs: One sentence for every repair that was made.
        assignments: The assignments as built, repairs included.
    """

    def __init__(
        self,
        assignments: Mapping[str, Tensor],
        num_tasks: int,
        dimensions: int,
        norm: str = "batch",
        *,
        repair: bool = False,
        preferences: Mapping[str, Tensor] | None = None,
        separate: bool = False,
    ) -> None:
        super().__init__(num_tasks, dimensions, norm)
        self.assignments = {name: assignment.clone() for name, assignment in assignments.items()}
        self.repairs: list[str] = []
        self._repair, self._preferences, self._separate = repair, dict(preferences or {}), separate
        self._layers: dict[str, AllocatedConv] = {}
        self._has_blocks = False

    @classmethod
    def from_allocation(
        cls, allocation: Allocation, dimensions: int, norm: str = "batch", *, repair: bool = False
    ) -> AllocatedBuilder:
        """Deal filters to groups in order: the first to the first task, the last to shared."""
        groups = torch.arange(len(allocation.groups))
        assignments = {layer.name: groups.repeat_interleave(torch.tensor(layer.counts)) for layer in allocation.layers}
        return cls(assignments, len(allocation.tasks), dimensions, norm, repair=repair)

    def allocation(self, tasks: tuple[str, ...]) -> Allocation:
        """Return the counts as built, repairs included, in depth order."""
        layers = (
            LayerAllocation(name, tuple(self.assignments[name].bincount(minlength=self.num_tasks + 1).tolist()))
            for name in self._names
        )
        return Allocation(group_names(tasks), tuple(layers))

    def check_complete(self) -> None:
        """Check that the backbone asked for every layer of the allocation."""
        idle = [name for name in self.assignments if name not in self._names]
        if idle:
            raise AllocationError(f"the backbone has no layer {idle[0]!r}; it has {', '.join(self._names)}")

    def finish(self, network: nn.Module, image_shape: tuple[int, ...]) -> None:
        """Leave out what no head reads: a task's own filters, where no layer above has filters of that task.

        The allocation still counts them; a sentence in :attr:`repairs` says that they are not there.
        """
        if not self._has_gaps() and not self._has_blocks:
            return
        names = {id(layer): name for name, layer in self._layers.items()}
        unread = unread_parameters(network, image_shape)
        for path, module in list(network.named_modules()):
            own = {name.removeprefix(f"{path}.") for name in unread if name.startswith(f"{path}.")}
            if isinstance(module, AllocatedBlocks):
                module.drop_unread(own)
            elif isinstance(module, AllocatedConv):
                for group in module.drop_unread(own):
                    self.repairs.append(
                        f"layer {names[id(module)]}: {len(module.filters[group])} filters of task {group} would be "
                        "read by nothing and were left out"
                    )

    def _has_gaps(self) -> bool:
        """Tell whether a group has filters in one layer and none in a later one."""
        present = [set(self.assignments[name].tolist()) for name in self._names]
        return any(not below <= above for below, above in pairwise(present))

    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        self._has_blocks = True
        return AllocatedBlocks(source, make, separate=self._separate)

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        assignment = self._assignment(request)
        if not request.source.members[-1]:
            self._revive_shared(request.name, assignment)
        self._feed_tasks(request, assignment)
        # A full-width network per task names its channels like the plain network, so that shortcuts find each other.
        filters = [
            (torch.nonzero(assignment == group).flatten() % request.out_channels).tolist()
            for group in range(self.num_tasks + 1)
        ]
        layer = AllocatedConv(request.source, filters, dimensions=self.dimensions, norm=self.norm, **request.geometry)
        self._layers[request.name] = layer
        return layer, layer.layout

    def _assignment(self, request: ConvRequest) -> Tensor:
        """Return the groups of a layer's filters: one for each, or for every task a full-width set of its own."""
        if request.name not in self.assignments:
            raise AllocationError(f"the allocation has no layer {request.name!r}, which the backbone needs")
        assignment, width = self.assignments[request.name], request.out_channels
        if assignment.ndim != 1 or bool(((assignment < 0) | (assignment > self.num_tasks)).any()):
            raise AllocationError(
                f"layer {request.name!r}: an assignment is one group 0..{self.num_tasks} per filter, shape ({width},)"
            )
        counts = assignment.bincount(minlength=self.num_tasks + 1).tolist()
        if sum(counts) != width and counts != [width] * self.num_tasks + [0]:
            raise AllocationError(
                f"layer {request.name!r}: counts {counts} sum to {sum(counts)}, the backbone has {width} filters there"
            )
        return assignment

    def _scores(self, name: str, filters: Tensor, num_groups: int) -> Tensor:
        """Return how well each of some filters fits each group (len(filters), G): preferences, or a round robin."""
        if name in self._preferences:
            return self._preferences[name].detach().cpu()[filters, :num_groups].double()
        return nn.functional.one_hot(torch.arange(len(filters)) % num_groups, num_groups).double()

    def _revive_shared(self, name: str, assignment: Tensor) -> None:
        """Give shared filters that would read nothing to the tasks."""
        dead = torch.nonzero(assignment == self.num_tasks).flatten()
        if not len(dead):
            return
        if not self._repair:
            raise AllocationError(
                f"layer {name!r} has {len(dead)} shared filters, but no layer below it shares any, so they would "
                "read nothing; share filters below, or give these to the tasks"
            )
        assignment[dead] = self._scores(name, dead, self.num_tasks).argmax(1)
        self.repairs.append(f"layer {name}: {len(dead)} shared filters would read nothing and went to the tasks")

    def _feed_tasks(self, request: ConvRequest, assignment: Tensor) -> None:
        """Give every task that would read nothing from this layer a filter that another task can spare.

        Where none can, in layers with fewer filters than tasks, one filter is shared.
        """
        name = request.name
        for task in range(self.num_tasks):
            if bool(((assignment == task) | (assignment == self.num_tasks)).any()):
                continue
            if not self._repair:
                raise AllocationError(
                    f"layer {name!r} gives task {task} (counted from 0) nothing to read; give it a filter of its own "
                    "or a shared one"
                )
            spare = torch.nonzero(assignment.bincount()[assignment] > 1).flatten()
            group = task if len(spare) else self.num_tasks
            if group == self.num_tasks and not request.source.members[-1]:
                raise AllocationError(
                    f"layer {name!r} has {len(assignment)} filters for {self.num_tasks} tasks and nothing to share; "
                    "widen the backbone"
                )
            candidates = spare if len(spare) else torch.arange(len(assignment))
            best = self._scores(name, candidates, self.num_tasks + 1)[:, group].argmax()
            assignment[candidates[best]] = group
            whom = "and got one filter" if group == task else "so one filter is shared"
            self.repairs.append(f"layer {name}: task {task} would read nothing {whom}")
