"""Branched networks: several full-width copies of every layer, of which each reads one copy below."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

from torch import nn

from sfgsearch.errors import BackboneError
from sfgsearch.nn._allocated import AllocatedConv
from sfgsearch.nn._blocks import AllocatedBlocks, MakeBlock
from sfgsearch.nn._builder import ConvRequest, LayerBuilder
from sfgsearch.nn._groups import GateSampling
from sfgsearch.nn._routes import DrawnRoute, FixedRoute, FollowedRoute, Route
from sfgsearch.nn._streams import AddStreams, StreamLayout, Streams


@dataclass(frozen=True, eq=False)
class Level:
    """Where streams stand in a branched network; the origin of their layout.

    Args:
        name: The layer whose nodes they are; None for the image, for sums and for what the heads read.
        route: How that layer's nodes read the level below; None if node j reads node j.
        below: The level that is read; None for the image.
        beside: A further level that is read node by node: a summand that is no ancestor of the other.
    """

    name: str | None = None
    route: Route | None = None
    below: Level | None = None
    beside: Level | None = None


class RoutedConv(nn.Module):
    """The nodes of one layer, and the route by which they read the nodes below."""

    def __init__(self, route: Route, nodes: AllocatedConv) -> None:
        super().__init__()
        self.route, self.nodes = route, nodes

    def forward(self, streams: Streams) -> Streams:
        """Return the nodes' features."""
        features: Streams = self.nodes(self.route(streams))
        return features


class RoutedAdd(nn.Module):
    """A residual addition whose summands are first brought to one level."""

    def __init__(self, first: nn.Module, second: nn.Module, total: AddStreams) -> None:
        super().__init__()
        self.first, self.second, self.total = first, second, total

    def forward(self, first: Streams, second: Streams) -> Streams:
        """Return the sums."""
        sums: Streams = self.total(self.first(first), self.second(second))
        return sums


class Readout(nn.Module):
    """What the heads read.

    Args:
        route: From the streams of the backbone to one stream per task.
        source: Where the streams of the backbone stand.
    """

    def __init__(self, route: Route, source: Level) -> None:
        super().__init__()
        self.route, self.source = route, source

    def forward(self, streams: Streams) -> Streams:
        """Return one stream per task, then an empty one."""
        read: Streams = self.route(streams)
        return read


class NodeBuilder(LayerBuilder, ABC):
    """Base of the builders of branched networks; they differ in their routes.

    Stream j is node j. A shortcut around layers follows their routes, so that a node adds its own ancestor; summands
    of which none is an ancestor of the other, such as a projected shortcut, are added node by node.

    Args:
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(self, num_tasks: int, dimensions: int, norm: str = "batch") -> None:
        super().__init__(num_tasks, dimensions, norm)
        self._image = Level()

    def image(self, channels: int) -> StreamLayout:
        """Return the layout of the input: every stream is the whole image."""
        return StreamLayout(super().image(channels).members, origin=self._image)

    def add(self, first: StreamLayout, second: StreamLayout) -> tuple[nn.Module, StreamLayout]:
        """Build a residual addition; see :class:`NodeBuilder`."""
        low, high = level_of(first), level_of(second)
        lift_first: nn.Module = nn.Identity()
        lift_second: nn.Module = nn.Identity()
        if (way := _way(low, high)) is not None:
            top = high
            lift_first, first = self._lifted(first, way)
        elif (way := _way(high, low)) is not None:
            top = low
            lift_second, second = self._lifted(second, way)
        else:
            top = Level(below=high, beside=low)
        total = AddStreams(first, second)
        return RoutedAdd(lift_first, lift_second, total), StreamLayout(total.layout.members, origin=top)

    def readout(self, source: StreamLayout) -> tuple[nn.Module, StreamLayout]:
        """Build the choice of the node that each task's head reads."""
        route = self._head_route(source)
        return Readout(route, level_of(source)), route.layout(source)

    def _build_conv(self, request: ConvRequest) -> tuple[nn.Module, StreamLayout]:
        route = self._route(request.name, request.source)
        source = route.layout(request.source)
        filters = [range(request.out_channels) if members else () for members in source.members]
        nodes = AllocatedConv(source, filters, dimensions=self.dimensions, norm=self.norm, **request.geometry)
        layout = StreamLayout(nodes.layout.members, origin=Level(request.name, route, level_of(request.source)))
        return RoutedConv(route, nodes), layout

    def _build_per_stream(self, source: StreamLayout, make: MakeBlock) -> nn.Module:
        if level_of(source) is self._image:
            raise BackboneError("per_stream blocks must read what conv returned: the image has no nodes")
        return AllocatedBlocks(source, make, separate=True)

    def _lifted(self, low: StreamLayout, way: list[Level]) -> tuple[nn.Module, StreamLayout]:
        """Return what brings streams up a way, and the layout that they have there."""
        routes = [level.route for level in reversed(way) if level.route is not None]
        if not routes:
            return nn.Identity(), low
        likely = _compose(routes)
        return (likely if level_of(low) is self._image else self._follow(routes)), likely.layout(low)

    def _follow(self, routes: list[Route]) -> nn.Module:
        """Return what follows routes between nodes, the lowest first."""
        return _compose(routes)

    @abstractmethod
    def _route(self, name: str, source: StreamLayout) -> Route:
        """Return the route of a layer."""

    @abstractmethod
    def _head_route(self, source: StreamLayout) -> Route:
        """Return the route of the heads."""


class BranchingBuilder(NodeBuilder):
    """Builds B nodes per layer, each of which draws the node below that it reads.

    Args:
        branches: B, at least 1 and at most T.
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
        sampling: How the routes draw; an object of their own if None.

    Raises:
        ValueError: If B is out of range.
    """

    def __init__(
        self,
        branches: int,
        num_tasks: int,
        dimensions: int,
        norm: str = "batch",
        sampling: GateSampling | None = None,
    ) -> None:
        super().__init__(num_tasks, dimensions, norm)
        if not 1 <= branches <= num_tasks:
            raise ValueError(f"branches must be 1 to {num_tasks}, the number of tasks, got {branches}")
        self._branches, self._sampling = branches, sampling or GateSampling()

    def _route(self, name: str, source: StreamLayout) -> Route:
        del name
        if level_of(source) is self._image:
            return FixedRoute((*[0] * self._branches, *[None] * (self.num_tasks + 1 - self._branches)))
        return self._drawn(self._branches, source)

    def _head_route(self, source: StreamLayout) -> Route:
        return self._drawn(self.num_tasks, source)

    def _drawn(self, children: int, source: StreamLayout) -> DrawnRoute:
        return DrawnRoute(children, len(nodes_of(source)), self.num_tasks + 1, self._sampling)

    def _follow(self, routes: list[Route]) -> nn.Module:
        return FollowedRoute([cast(DrawnRoute, route) for route in routes])


def level_of(layout: StreamLayout) -> Level:
    """Return where streams stand.

    Raises:
        BackboneError: If another builder made them.
    """
    if not isinstance(layout.origin, Level):
        raise BackboneError("a branched network's layers must read streams of its own layer builder")
    return layout.origin


def nodes_of(layout: StreamLayout) -> list[int]:
    """Return the nodes that exist."""
    return [node for node, members in enumerate(layout.members) if members]


def _way(low: Level, high: Level) -> list[Level] | None:
    """Return the levels from the high one down to above the low one; None if the low one is not below it."""
    way: list[Level] = []
    level: Level | None = high
    while level is not low:
        if level is None:
            return None
        way.append(level)
        level = level.below
    return way


def _compose(routes: list[Route]) -> FixedRoute:
    """Return the route that follows the most probable parents of several, the lowest first."""
    *lower, top = routes
    parents = top.parents
    for route in reversed(lower):
        parents = tuple(None if parent is None else route.parents[parent] for parent in parents)
    return FixedRoute(parents)
