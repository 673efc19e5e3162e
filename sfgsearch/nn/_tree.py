"""Trees: what is left of a branched network once every copy of a layer has its parent."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from sfgsearch.errors import AllocationError
from sfgsearch.graph import Analysis, Copies, Layer, LockstepNetwork, Read, Reading, reached
from sfgsearch.nn._branching import DrawnRoutes, routed_layers
from sfgsearch.nn._network import NetworkSpec, build_lockstep
from sfgsearch.nn._structure import Structure, structures


@dataclass(frozen=True)
class Tree:
    """The copies of a branched network's layers that exist, and what they read.

    Args:
        parents: For every layer that has a choice, by the name of its weight, the copy below that each of its copies
            reads; None for a copy that does not exist.
        heads: For every task, the copy that its head reads.
    """

    parents: Mapping[str, tuple[int | None, ...]]
    heads: tuple[int, ...]

    @classmethod
    def from_details(cls, details: Mapping[str, Any]) -> Tree:
        """Return the tree of the details of a structure that :func:`branched_structure` returned."""
        return cls({name: tuple(copies) for name, copies in details["parents"].items()}, tuple(details["heads"]))

    @property
    def branches(self) -> int:
        """B, the copies of every layer that may exist."""
        return max([*map(len, self.parents.values()), *(head + 1 for head in self.heads)])

    def check_fits(self, analysis: Analysis) -> None:
        """Check that this is a tree of a network.

        Raises:
            AllocationError: If it is not.
        """
        layers = routed_layers(analysis)
        for name in layers:
            if name not in self.parents:
                raise AllocationError(f"the tree has no layer {name!r}, which the backbone needs")
        for name in self.parents:
            if name not in layers:
                raise AllocationError(f"the backbone has no layer {name!r}; it has {', '.join(layers) or 'none'}")
        if len(self.heads) != analysis.num_tasks:
            raise AllocationError(f"the tree has {len(self.heads)} heads, the network {analysis.num_tasks} tasks")
        branches = self.branches
        for name, parents in {**self.parents, "heads": self.heads}.items():
            if not all(parent is None or 0 <= parent < branches <= analysis.num_tasks for parent in parents):
                raise AllocationError(f"{name!r} cannot read {list(parents)}: the copies below are 0..{branches - 1}")
        reached(analysis, TreeRoutes(self))


class TreeRoutes(Reading):
    """Every copy of a layer, and every head, reads the copy below that a tree says."""

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree

    def sources(self, layer: Layer, copy: int) -> tuple[int]:
        """Return the parent.

        Raises:
            AllocationError: If the tree has none.
        """
        parents: Sequence[int | None] = self.tree.parents.get(layer.weight, self.tree.heads)
        parent = parents[copy] if copy < len(parents) else None
        if parent is None:
            raise AllocationError(f"something reads copy {copy} of {layer.weight!r}, which the tree does not have")
        return (parent,)

    def forward(self) -> Read:
        """Return what reads parents."""
        return self._read

    def _read(self, layer: Layer, values: Copies, copies: Sequence[int]) -> Copies:
        return {copy: values[parent] for copy in copies for parent in self.sources(layer, copy)}


def likely_tree(network: LockstepNetwork) -> Tree:
    """Return the tree of the most probable parents, without the copies that no head reaches."""
    reading = network.reading
    if isinstance(reading, TreeRoutes):
        return _without_unread(network.analysis, reading.tree)
    drawn = cast(DrawnRoutes, reading)
    parents = {weight: route.parents for weight, route in drawn.routes.items()}
    return _without_unread(network.analysis, Tree(parents, drawn.heads.parents))


def _without_unread(analysis: Analysis, tree: Tree) -> Tree:
    copies = _copies_of_weights(analysis, tree)
    parents = {
        weight: tuple(parent if copy in copies[weight] else None for copy, parent in enumerate(parents))
        for weight, parents in tree.parents.items()
    }
    return Tree(parents, tree.heads)


def _copies_of_weights(analysis: Analysis, tree: Tree, tasks: Iterable[int] | None = None) -> dict[str, set[int]]:
    """Return the copies of every parameter and buffer that predictions of some tasks depend on."""
    found = reached(analysis, TreeRoutes(tree), tasks)
    return {name: set(found[placeholder]) for placeholder, name in analysis.trace.state.items()}


def tree_readers(analysis: Analysis, tree: Tree) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return for every channel space and copy the tasks, by number, that read any of its filters."""
    of_tasks = [_copies_of_weights(analysis, tree, [task]) for task in range(analysis.num_tasks)]
    return {
        space.name: tuple(
            tuple(
                task for task, copies in enumerate(of_tasks) if any(copy in copies[weight] for weight in space.layers)
            )
            for copy in range(tree.branches)
        )
        for space in analysis.spaces
    }


@torch.no_grad()
def prune(trained: LockstepNetwork) -> LockstepNetwork:
    """Return the compact network of the most probable tree, with copies of the trained network's weights.

    Its batch-norm statistics are the running ones, which average over draws: re-estimate them with
    :func:`~sfgsearch.nn.reestimate_statistics` before predicting.
    """
    copies, heads = copy.deepcopy((trained.copies, trained.ordered_heads))
    reading = TreeRoutes(likely_tree(trained))
    return LockstepNetwork(trained.analysis, copies, heads, trained.tasks, reading).train(trained.training)


def build_tree(spec: NetworkSpec, tree: Tree, generator: torch.Generator | None = None) -> LockstepNetwork:
    """Build the copies that a tree has.

    Raises:
        AllocationError: If the tree does not fit the network.
    """
    tree.check_fits(spec.plain_analysis)
    return build_lockstep(spec, tree.branches, TreeRoutes(tree), generator)


def branched_structure(tree: Tree) -> Structure:
    """Return the structure of the compact network of a tree."""
    parents = {name: list(copies) for name, copies in tree.parents.items()}
    return Structure("branched", {"parents": parents, "heads": list(tree.heads)})


@structures.register("branched")
def _build(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return build_tree(spec, Tree.from_details(details))
