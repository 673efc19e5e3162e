"""Layer builders: a backbone is written once, and a builder decides what its layers are made of.

A backbone asks its builder for layers by name. What comes back maps streams to streams, whatever the method:
stochastic filter groups, plain convolutions of a fixed allocation, or what a new method brings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.errors import AllocationError, BackboneError
from sfgsearch.nn._allocated import AllocatedConv
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d, Size
from sfgsearch.nn._groups import FilterGroups
from sfgsearch.nn._streams import StreamLayout

_SFG_CONVOLUTIONS: dict[int, type[SFGConv]] = {2: SFGConv2d, 3: SFGConv3d}


@dataclass(frozen=True)
class ConvRequest:
    """One allocatable layer as a backbone asks for it; sizes as in torch's convolutions."""

    name: str
    source: StreamLayout
    out_channels: int
    kernel_size: Size
    stride: Size
    padding: Size | str
    dilation: Size
    activation: Callable[[], nn.Module] | None

    @property
    def geometry(self) -> dict[str, Any]:
        """The arguments that every kind of convolution shares."""
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "activation": self.activation,
        }


class LayerBuilder(ABC):
    """Builds the layers of one network for one method.

    Args:
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(self, num_tasks: int, dimensions: int, norm: str = "batch") -> None:
        self.num_tasks, self.dimensions, self.norm = num_tasks, dimensions, norm
        self._names: list[str] = []

    def image(self, channels: int) -> StreamLayout:
        """Return the layout of the input: every stream is the whole image."""
        return StreamLayout.full(channels, self.num_tasks + 1)

    def conv(
        self,
        name: str,
        source: StreamLayout,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size | str = "same",
        dilation: Size = 1,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> tuple[nn.Module, StreamLayout]:
        """Build one allocatable layer: convolution, norm, activation and routing.

        Args:
            name: The layer's name in allocations, unique in the backbone.
            source: Layout of the streams that it reads.
            out_channels: K, its filters at full width.
            kernel_size: As in torch's convolutions; so are stride, padding and dilation.
            stride: See above.
            padding: See above.
            dilation: See above.
            activation: Builds the activation; None for the identity.

        Returns:
            The layer, which maps streams to streams, and the layout of what it returns.

        Raises:
            BackboneError: If the name is taken.
            AllocationError: If the method's allocation does not fit the layer.
        """
        if name in self._names:
            raise BackboneError(f"a backbone names two layers {name!r}; layer names must differ")
        self._names.append(name)
        request = ConvRequest(name, source, out_channels, kernel_size, stride, padding, dilation, activation)
        return self._build_conv(request)

    def check_complete(self) -> None:
        """Check, once the backbone stands, that it took everything the method brought.

        Raises:
            AllocationError: If the method's allocation has a layer that the backbone lacks.
        """

    @abstractmethod
    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        """Build the layer; see :meth:`conv`."""


class SFGBuilder(LayerBuilder):
    """Builds layers of stochastic filter groups.

    Args:
        groups: The filter groups of every layer, by name; new uniform ones for layers that are missing.
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(
        self, num_tasks: int, dimensions: int, norm: str = "batch", groups: Mapping[str, FilterGroups] | None = None
    ) -> None:
        super().__init__(num_tasks, dimensions, norm)
        self._groups = dict(groups or {})

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        layer = _SFG_CONVOLUTIONS[self.dimensions](
            request.source.num_channels(0),
            request.out_channels,
            num_tasks=self.num_tasks,
            norm=self.norm,
            groups=self._groups.get(request.name),
            name=request.name,
            **request.geometry,
        )
        return layer, StreamLayout.full(request.out_channels, self.num_tasks + 1)


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
    ) -> None:
        super().__init__(num_tasks, dimensions, norm)
        self.assignments = {name: assignment.clone() for name, assignment in assignments.items()}
        self.repairs: list[str] = []
        self._repair, self._preferences = repair, dict(preferences or {})

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

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        assignment = self._assignment(request)
        if not request.source.members[-1]:
            self._revive_shared(request.name, assignment)
        self._feed_tasks(request, assignment)
        filters = [torch.nonzero(assignment == group).flatten().tolist() for group in range(self.num_tasks + 1)]
        layer = AllocatedConv(request.source, filters, dimensions=self.dimensions, norm=self.norm, **request.geometry)
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


class SurveyBuilder(LayerBuilder):
    """Builds nothing, but notes every allocatable layer of a backbone.

    Attributes:
        filters: Filters of every layer at full width, in depth order.
    """

    def __init__(self, num_tasks: int, dimensions: int) -> None:
        super().__init__(num_tasks, dimensions)
        self.filters: dict[str, int] = {}

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        self.filters[request.name] = request.out_channels
        return nn.Identity(), StreamLayout.full(request.out_channels, self.num_tasks + 1)
