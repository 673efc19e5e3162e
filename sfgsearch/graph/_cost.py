"""Expected multiply-adds of a network of groups, as a differentiable function of its probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph._analysis import Analysis
from sfgsearch.graph._masks import Masks, with_fixed
from sfgsearch.graph._nodes import operation


class ExpectedCost(nn.Module):
    r"""Computes the expected multiply-adds of the networks that probabilities draw, as a part of the plain network's.

    .. math:: C(p) = \sum_l m_l \overline{M}_l(p) \Big/ \sum_l m_l

    with the multiply-adds :math:`m_l` of layer l in the plain network, and the mean :math:`\overline{M}_l(p)` of its
    mask: filters are drawn independently of each other, so that the expected mask is the mask of the probabilities.
    Only where a layer reads filters that it writes itself, as in residual networks, does a filter meet itself, which
    counts as if it were two. Filters that nothing reads count, too.

    Args:
        analysis: The network.
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
    """Return the multiply-adds of every weight that writes filters, for one image of the plain network.

    Args:
        analysis: The network.
    """
    names = [layer.weight for layer in analysis.layers]
    found = dict.fromkeys(names, 0)
    for node in analysis.trace.operations:
        for weight in node.all_input_nodes:
            name = analysis.trace.state.get(weight.name)
            if name in found:
                found[name] += math.prod(map(int, weight.meta["val"].shape)) * _places(node)
    return found


def _places(node: fx.Node) -> int:
    """Return how often a layer's weight is applied to one image: once per pixel of its output, or token."""
    placed = node.args[0] if "transpose" in operation(node) else node
    shape = placed.meta["val"].shape  # type: ignore[union-attr]
    return math.prod(map(int, shape[1:-1] if operation(node) == "linear" else shape[2:]))
