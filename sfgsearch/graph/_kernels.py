"""Kernels that a network computes from a parameter, as weight standardisation does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph._nodes import call, names, operation
from sfgsearch.graph._trace import Trace

_LAYERS = names("conv1d conv2d conv3d linear")


@dataclass(frozen=True)
class Kernel:
    """A kernel that is computed from parameters and constants alone.

    Args:
        weight: Name of the parameter of its shape, whose rows are those of its filters.
        source: The parameter's placeholder.
        chain: The nodes that compute it, in the order in which they run.
    """

    weight: str
    source: fx.Node
    chain: tuple[fx.Node, ...]


def computed_kernels(trace: Trace, parameters: Mapping[fx.Node, str]) -> dict[fx.Node, Kernel]:
    """Return the computed kernels of layers, by the node whose value they are.

    Args:
        trace: The network's graph.
        parameters: Names of parameters by placeholder.
    """
    position = {node: index for index, node in enumerate(trace.nodes)}
    found = {}
    for node in trace.operations:
        kernel = node.args[1] if operation(node) in _LAYERS else None
        if not isinstance(kernel, fx.Node) or kernel in parameters:
            continue
        before = _before(kernel)
        shape = kernel.meta["val"].shape
        sources = [other for other in before if other in parameters and other.meta["val"].shape == shape]
        is_fixed = all(other.op != "placeholder" or _is_state(trace, other) for other in before)
        if len(sources) == 1 and is_fixed:
            chain = sorted((other for other in before if other.op == "call_function"), key=position.__getitem__)
            found[kernel] = Kernel(parameters[sources[0]], sources[0], tuple(chain))
    return found


def _before(node: fx.Node) -> set[fx.Node]:
    """Return a node and all that its value depends on."""
    found, waiting = {node}, [node]
    while waiting:
        fresh = set(waiting.pop().all_input_nodes) - found
        found |= fresh
        waiting.extend(fresh)
    return found


def _is_state(trace: Trace, node: fx.Node) -> bool:
    return node.name in trace.state or node.name in trace.constants


@torch.no_grad()
def kernel_of(trace: Trace, network: nn.Module, chain: tuple[fx.Node, ...]) -> Tensor:
    """Return the kernel that a chain of nodes computes from a network's parameters."""
    values: dict[fx.Node, Any] = dict(trace.inputs(network, torch.empty(0)))
    for node in chain:
        values[node] = call(node, values)
    kernel: Tensor = values[chain[-1]]
    return kernel
