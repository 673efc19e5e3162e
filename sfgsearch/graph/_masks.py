"""Masks: which filter reads which, from the gates of both; and the multiply-adds that they leave."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph._analysis import Analysis, Layer
from sfgsearch.graph._nodes import operation


def hard_gates(assignment: Tensor, num_tasks: int) -> Tensor:
    """Return the one-hot gates of an assignment, int64 of shape (F, T+1): zeros for filters that are off.

    Args:
        assignment: Group of every filter, of shape (F,): 0..T, or T+1 for one that is off.
        num_tasks: T.
    """
    return nn.functional.one_hot(assignment, num_tasks + 2)[:, :-1]


def with_fixed(gates: Tensor, head_gates: Tensor) -> Tensor:
    """Return the whole table of gates, shape (rows, T+1): zeros for row 0, those of the filters, those of heads.

    Args:
        gates: Of the filters that are allocated, shape (F, T+1).
        head_gates: Of the heads' filters.
    """
    return torch.cat([gates.new_zeros(1, gates.shape[1]), gates, head_gates.to(gates)])


def readable(table: Tensor) -> Tensor:
    r"""Return how much of each row's filter every stream carries, shape (rows, T+1).

    .. math:: r_{ct} = z_{ct} + z_{cs}, \qquad r_{cs} = z_{cs}

    and 1 for row 0, which all may read.
    """
    shared = table[:, -1:]
    carried = torch.cat([table[:, :-1] + shared, shared], 1)
    return torch.cat([torch.ones_like(carried[:1]), carried[1:]])


class Masks(nn.Module):
    r"""Computes the masks of all layers at once.

    .. math:: M_{kc} = \sum_g z_{kg}\, r_{cg}

    which is 1 where filter k may read channel c and 0 elsewhere if gates are one-hot.
    """

    head_gates: Tensor
    _writes: Tensor
    _reads: Tensor

    def __init__(self, analysis: Analysis) -> None:
        super().__init__()
        self.layers = analysis.masked
        self._sizes = tuple(
            [rows.numel() for rows in all_rows]
            for all_rows in ([layer.writes for layer in self.layers], [layer.reads for layer in self.layers])
        )
        writes = torch.cat([layer.writes.flatten() for layer in self.layers])
        reads = torch.cat([layer.reads.flatten() for layer in self.layers])
        for name, rows in (("_writes", writes), ("_reads", reads), ("head_gates", analysis.head_gates)):
            self.register_buffer(name, rows, persistent=False)

    def forward(self, gates: Tensor) -> dict[str, Tensor]:
        """Return the mask of every masked layer by the name of its weight, ready to be multiplied with it.

        Args:
            gates: Of the filters that are allocated, shape (F, T+1).
        """
        table = with_fixed(gates, self.head_gates)
        written = torch.split(table.index_select(0, self._writes), self._sizes[0])  # one gather for all layers
        read = torch.split(readable(table).index_select(0, self._reads), self._sizes[1])
        return {
            layer.weight: _mask(layer, one, other) for layer, one, other in zip(self.layers, written, read, strict=True)
        }


def _mask(layer: Layer, written: Tensor, read: Tensor) -> Tensor:
    groups = len(layer.writes)
    first, second = written.view(groups, -1, written.shape[1]), read.view(groups, -1, read.shape[1])
    if layer.transposed:
        first, second = second, first
    return (first @ second.mT).flatten(0, 1)  # (K, C / G); (C, K / G) where transposed


def parameter_of(network: nn.Module, name: str) -> Tensor:
    """Return a parameter by name, or what stands for it inside :func:`torch.func.functional_call`."""
    parameter: Tensor = attrgetter(name)(network)  # get_parameter refuses those of a functional_call
    return parameter


def apply_mask(weight: Tensor, mask: Tensor) -> Tensor:
    """Return a weight (first, second, *kernel) times its mask (first, second)."""
    return weight * mask.view(*mask.shape, *[1] * (weight.ndim - 2))


class ExpectedCost(nn.Module):
    r"""Computes the expected multiply-adds of the networks that probabilities draw, as a part of the plain network's.

    .. math:: C(p) = \sum_l m_l \overline{M}_l(p) \Big/ \sum_l m_l

    with the multiply-adds :math:`m_l` of layer l in the plain network, and the mean :math:`\overline{M}_l(p)` of its
    mask: filters are drawn independently of each other, so that the expected mask is the mask of the probabilities.
    Only where a layer reads filters that it writes itself, as in residual networks, does a filter meet itself, which
    counts as if it were two. Filters that nothing reads count, too.
    """

    _parts: Tensor
    _writes: Tensor

    def __init__(self, analysis: Analysis) -> None:
        super().__init__()
        self._masks = Masks(analysis)
        plain = [layer for layer in analysis.layers if not layer.is_masked]
        self._sizes = [layer.writes.numel() for layer in plain]
        macs = layer_macs(analysis)
        parts = [macs[layer.weight] / sum(macs.values()) for layer in (*analysis.masked, *plain)]
        writes = [layer.writes.flatten() for layer in plain]
        for name, values in (("_parts", torch.tensor(parts)), ("_writes", torch.cat(writes))):
            self.register_buffer(name, values, persistent=False)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return the part, a scalar in (0, 1].

        Args:
            probabilities: Of all filters, shape (F, T+1); what is missing to one is that of being off.
        """
        on = with_fixed(probabilities, self._masks.head_gates).sum(1)[self._writes]
        means = [part.mean() for part in (*self._masks(probabilities).values(), *torch.split(on, self._sizes))]
        return (self._parts * torch.stack(means)).sum()


def layer_macs(analysis: Analysis) -> dict[str, int]:
    """Return the multiply-adds of every weight that writes filters, for one image of the plain network."""
    return {layer.weight: sum(map(_macs, layer.nodes)) for layer in analysis.layers}


def _macs(node: fx.Node) -> int:
    """Return the multiply-adds of an operation with a weight."""
    weight: Any = node.args[1]
    return math.prod(map(int, weight.meta["val"].shape)) * _applications(node)


def _applications(node: fx.Node) -> int:
    """Return how often a layer's weight is applied to one image: once per pixel of its output, or token."""
    placed = node.args[0] if "transpose" in operation(node) else node
    shape = placed.meta["val"].shape  # type: ignore[union-attr]
    return math.prod(map(int, shape[1:-1] if operation(node) == "linear" else shape[2:]))
