"""Residual blocks in a network's graph: additions of a branch and the shortcut around it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from sfgsearch.graph._analysis import BACKBONE, Analysis
from sfgsearch.graph._nodes import operation, owner

_ADDITIONS = ("add", "add_")


@dataclass(frozen=True)
class ResidualBlock:
    """An addition of a branch and a shortcut.

    Args:
        name: Path of the module that adds, with a number where it adds several times.
        node: The addition.
        branch: The operand that more layers lead to.
        shortcut: The other one.
    """

    name: str
    node: fx.Node
    branch: fx.Node
    shortcut: fx.Node

    def __deepcopy__(self, memo: dict[int, object]) -> ResidualBlock:
        """Return itself: it never changes, and its nodes are linked to all others."""
        return self


def residual_blocks(analysis: Analysis) -> tuple[ResidualBlock, ...]:
    """Return the residual blocks of a backbone, in the order in which they are computed.

    A block is an addition of two maps of the same shape, to one of which more layers lead that do not lead to the
    other: the branch. So shortcuts may be projected by a layer, and parallel layers whose outputs are added are none.

    Args:
        analysis: Of a network whose backbone is called ``backbone``.
    """
    weights = {node for node in analysis.trace.operations if _runs_layer(analysis, node)}
    before: dict[fx.Node, frozenset[fx.Node]] = {}
    found: dict[str, ResidualBlock] = {}
    for node in analysis.trace.operations:
        operands = [other for other in node.all_input_nodes if other in before]
        before[node] = frozenset({node} & weights).union(*(before[other] for other in operands))
        if operation(node) not in _ADDITIONS or len(operands) != 2 or not owner(node).startswith(BACKBONE):
            continue
        if operands[0].meta["val"].shape != operands[1].meta["val"].shape:
            continue
        own = [len(before[one] - before[other]) for one, other in (operands, operands[::-1])]
        if own[0] != own[1]:
            shortcut, branch = operands if own[0] < own[1] else operands[::-1]
            name = _name(owner(node), found)
            found[name] = ResidualBlock(name, node, branch, shortcut)
    return tuple(found.values())


def _runs_layer(analysis: Analysis, node: fx.Node) -> bool:
    """Return whether a node is a convolution or linear layer with a weight of its own."""
    state = analysis.trace.state
    names = {state.get(other.name) for other in node.all_input_nodes}
    return any(layer.weight in names for layer in analysis.layers)


def _name(path: str, taken: dict[str, ResidualBlock]) -> str:
    path = path.removeprefix(f"{BACKBONE}.")
    numbered = (f"{path}/{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (path, *numbered) if name not in taken)
