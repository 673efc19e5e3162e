"""Nodes of a network's graph: how they are run, and what they are called in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn

WRAPPED = "network"
"""The path of the network in the module that is exported."""


def call(node: fx.Node, values: Mapping[fx.Node, Any], **replaced: Any) -> Any:
    """Run a node's operation on the values of the nodes that it reads.

    Args:
        node: The node.
        values: Values by node.
        replaced: Arguments, by ``arg`` and position, that are passed instead of the node's own.
    """
    arguments = list(fx.map_arg(node.args, values.__getitem__))
    keywords = fx.map_arg(node.kwargs, values.__getitem__)
    for name, value in replaced.items():
        arguments[int(name.removeprefix("arg"))] = value
    return node.target(*arguments, **keywords)  # type: ignore[operator]


_MODES = {"batch_norm": 5, "instance_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}
"""Operations that differ in training, with the position of the argument that says so."""

_HAVE_STATISTICS = ("batch_norm", "instance_norm")
"""Of these, those that do not differ without running statistics, their fourth argument."""


def mode_of(node: fx.Node, network: nn.Module, path: Callable[[str], str] = str) -> dict[str, bool]:
    """Return the argument of :func:`call` that puts a node into the mode of its module; none where it has no choice.

    Args:
        node: The node.
        network: The network that is run.
        path: Returns the path in it of a module of the network that was traced.
    """
    name = operation(node).removesuffix("_")
    if name not in _MODES or (name in _HAVE_STATISTICS and node.args[3] is None):
        return {}
    return {f"arg{_MODES[name]}": network.get_submodule(path(owner(node))).training}


def names(text: str) -> frozenset[str]:
    """Return the names of operations in a text."""
    return frozenset(text.split())


def nodes_in(argument: Any) -> list[fx.Node]:
    """Return the nodes in an argument, which may be a sequence."""
    found: list[fx.Node] = []
    fx.map_arg(argument, found.append)
    return found


def operation(node: fx.Node) -> str:
    """Return the name of a node's operation, such as ``"conv2d"``."""
    name: str = getattr(node.target, "__name__", str(node.target))
    return name.partition(".")[0]  # without that of the overload


def origin(node: fx.Node) -> str:
    """Return in words where a node comes from: its operation and the module that runs it."""
    return f"{owner(node) or 'the network itself'} ({operation(node)})"


def owner(node: fx.Node) -> str:
    """Return the path of the module whose forward runs a node; empty for the network's own."""
    return next(iter(owners(node)), "")


def owners(node: fx.Node) -> list[str]:
    """Return the paths of all modules inside whose forward a node is run, the innermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = (str(path) for path, _ in reversed(list(stack.values())) if path)
    return [path.removeprefix(WRAPPED).removeprefix(".") for path in paths]


def only_checks(node: fx.Node) -> bool:
    """Return whether a node computes nothing, but asserts something about sizes."""
    return "assert" in operation(node) or operation(node).startswith("sym_constrain")
