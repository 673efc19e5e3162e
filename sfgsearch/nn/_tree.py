"""Trees: what is left of a branched network once every node has its parent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from sfgsearch.errors import AllocationError
from sfgsearch.nn._branched import Level, NodeBuilder, Readout, nodes_of
from sfgsearch.nn._network import MultiTaskNetwork, NetworkSpec
from sfgsearch.nn._routes import FixedRoute, Parents, Route
from sfgsearch.nn._streams import StreamLayout
from sfgsearch.nn._structure import Structure, structures


@dataclass(frozen=True)
class Tree:
    """Which nodes of a branched network exist and what they read.

    Args:
        parents: For every layer, the parent of each node; None for a node that does not exist. Nodes that read the
            image have parent 0.
        heads: For every task, the node of the last layer that its head reads.
        readers: For every layer and node, the tasks (by index) that its features reach.
    """

    parents: dict[str, Parents]
    heads: tuple[int, ...]
    readers: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict, compare=False)

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> Tree:
        """Return the tree, without readers, of the details of a structure that :func:`branched_structure` returned."""
        return cls({name: tuple(nodes) for name, nodes in details["parents"].items()}, tuple(details["heads"]))


class TreeBuilder(NodeBuilder):
    """Builds the nodes of a tree, each once.

    Args:
        tree: The tree.
        num_tasks: T >= 1.
        dimensions: Spatial dimensions of the data, 2 or 3.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.
    """

    def __init__(self, tree: Tree, num_tasks: int, dimensions: int, norm: str = "batch") -> None:
        super().__init__(num_tasks, dimensions, norm)
        self._tree = tree

    def check_complete(self) -> None:
        """Check that the backbone asked for every layer of the tree."""
        idle = [name for name in self._tree.parents if name not in self._names]
        if idle:
            raise AllocationError(f"the backbone has no layer {idle[0]!r}; it has {', '.join(self._names)}")

    def _route(self, name: str, source: StreamLayout) -> Route:
        if name not in self._tree.parents:
            raise AllocationError(f"the tree has no layer {name!r}, which the backbone needs")
        return self._fixed(f"layer {name!r}", self._tree.parents[name], source)

    def _head_route(self, source: StreamLayout) -> Route:
        if len(self._tree.heads) != self.num_tasks:
            raise AllocationError(f"the tree has {len(self._tree.heads)} heads, the network {self.num_tasks} tasks")
        return self._fixed("a head", self._tree.heads, source)

    def _fixed(self, reader: str, parents: Sequence[int | None], source: StreamLayout) -> Route:
        nodes = nodes_of(source)
        strangers = [parent for parent in parents if parent is not None and parent not in nodes]
        if strangers or len(parents) > self.num_tasks:
            raise AllocationError(f"{reader} cannot read {list(parents)}: the nodes below are {nodes}")
        return FixedRoute((*parents, *[None] * (self.num_tasks + 1 - len(parents))))


def likely_tree(network: MultiTaskNetwork) -> Tree:
    """Return the tree of the most probable parents, without the nodes that no head reaches.

    Args:
        network: What :class:`BranchingBuilder` or :class:`TreeBuilder` built.
    """
    readout = cast(Readout, network.readout)
    heads = cast("tuple[int, ...]", readout.route.parents[:-1])
    routes: dict[str, Route] = {}
    readers: dict[str, list[set[int]]] = {}
    for task, head in enumerate(heads):
        for level, node in _ancestors(readout.source, head):
            if level.name is not None and level.route is not None:
                routes[level.name] = level.route
                readers.setdefault(level.name, [set() for _ in heads])[node].add(task)
    tree = Tree({}, heads, {})
    for name in reversed(routes):  # met from the heads down
        tree.readers[name] = tuple(tuple(sorted(tasks)) for tasks in readers[name])
        tree.parents[name] = tuple(
            parent if tasks else None for parent, tasks in zip(routes[name].parents, readers[name], strict=False)
        )
    return tree


@torch.no_grad()
def prune(trained: MultiTaskNetwork, spec: NetworkSpec) -> MultiTaskNetwork:
    """Build the compact network of the most probable tree, with the trained network's weights.

    Its batch-norm statistics are the running ones, which average over draws: re-estimate them with
    :func:`~sfgsearch.nn.reestimate_statistics` before predicting.

    Args:
        trained: A network that ``spec`` built with a :class:`BranchingBuilder`.
        spec: What built it.

    Returns:
        The compact network, on the device of the trained one and in its mode.
    """
    compact = spec.build(TreeBuilder(likely_tree(trained), len(spec.tasks), spec.dimensions, spec.norm))
    wide = trained.state_dict()
    compact.load_state_dict({name: wide[name] for name in compact.state_dict()})
    return compact.to(next(trained.parameters()).device).train(trained.training)


def branched_structure(tree: Tree) -> Structure:
    """Return the structure of the compact network of a tree."""
    parents = {name: list(nodes) for name, nodes in tree.parents.items()}
    return Structure("branched", {"parents": parents, "heads": list(tree.heads)})


@structures.register("branched")
def _build_branched(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return spec.build(TreeBuilder(Tree.from_details(details), len(spec.tasks), spec.dimensions, spec.norm))


def _ancestors(level: Level, node: int) -> Iterator[tuple[Level, int]]:
    """Yield a node and all that it reads, down to the image."""
    yield level, node
    if level.beside is not None:
        yield from _ancestors(level.beside, node)
    if level.below is not None:
        parent = node if level.route is None else level.route.parents[node]
        yield from _ancestors(level.below, cast(int, parent))
