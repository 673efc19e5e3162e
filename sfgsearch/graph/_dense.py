"""Dense execution: a network of groups as the plain network with masked weights."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.graph._analysis import Analysis
from sfgsearch.graph._masking import MaskedKernel, call_masked
from sfgsearch.graph._masks import Masks, apply_mask, hard_gates, parameter_of, readable, with_fixed
from sfgsearch.graph._norms import GroupedNorm, NormsByGroup


class DenseNetwork(nn.Module):
    r"""Runs a network's own forward with masked weights.

    .. math:: y = \mathrm{conv}(x, W \odot M), \qquad M_{kc} = \sum_g z_{kg}\, r_{cg}

    Under one-hot gates every channel belongs to one group, so all T+1 streams are slices of one tensor, and this is
    the network of filter groups exactly, for any number of tasks. The gradient of the gates comes from that of
    :math:`W \odot M`: what a filter would read, and who would read it, in another group, to first order.
    """

    _gates: Tensor

    def __init__(self, network: nn.Module, analysis: Analysis) -> None:
        super().__init__()
        self.network, self._norms = network, analysis.norms
        self._computed = {layer.weight for layer in analysis.masked if layer.chain}
        self.masks = Masks(analysis)
        self._fixed: list[str] | None = None

    def fix(self, gates: Tensor) -> None:
        """Compute masks and norms once, for gates that stand still.

        Args:
            gates: Of all filters, one-hot of shape (F, T+1).
        """
        masks = {name: mask for name, mask in self.masks(gates).items() if not bool((mask == 1).all())}
        self._fixed = list(masks)
        for index, mask in enumerate(masks.values()):
            self.register_buffer(f"_mask{index}", mask, persistent=False)
        self.register_buffer("_gates", gates, persistent=False)

    def forward(self, images: Tensor, gates: Tensor | None = None) -> Any:
        """Return what the network returns.

        Args:
            images: Shape (B, C, *space).
            gates: Of all filters, shape (F, T+1); one-hot, zeros for filters that are off, or relaxed, which relaxes
                the masks. Those that were fixed if None.
        """
        masks = self._fixed_masks() if gates is None else self.masks(gates)
        with self._normalising(self._gates if gates is None else gates):
            return call_masked(self.network, masks, self._computed, (images,))

    def _fixed_masks(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"_mask{index}") for index, name in enumerate(self._fixed or ())}

    def _normalising(self, gates: Tensor) -> NormsByGroup | nullcontext[None]:
        if not self._norms:
            return nullcontext()
        table = with_fixed(gates, self.masks.head_gates)
        carried = readable(table)
        return NormsByGroup(
            {
                id(parameter_of(self.network, norm.weight)): (table[norm.rows], carried[norm.rows])
                for norm in self._norms
            }
        )


@torch.no_grad()
def bake(network: nn.Module, analysis: Analysis, assignment: Tensor) -> nn.Module:
    """Return a copy of a network whose weights are masked once and for all by an assignment, zeros included.

    Args:
        network: The plain network that was analysed.
        analysis: Its analysis.
        assignment: Group of every filter, int64 of shape (F,); T+1 where it is off.
    """
    gates = hard_gates(assignment, analysis.num_tasks).to(next(network.parameters()))
    baked = copy.deepcopy(network)
    masks = Masks(analysis).to(gates.device)
    layers = {layer.weight: layer for layer in analysis.masked}
    for name, mask in masks(gates).items():
        layer = layers[name]
        if not layer.chain:
            weight = baked.get_parameter(name)
            weight.copy_(apply_mask(weight, mask))
        elif not bool((mask == 1).all()):
            inner = name.removeprefix(f"{layer.module}.")
            baked.set_submodule(layer.module, MaskedKernel(baked.get_submodule(layer.module), inner, mask))
    table = with_fixed(gates, masks.head_gates)
    for norm in analysis.norms:
        path = norm.weight.rpartition(".")[0]
        rows = norm.rows.to(gates.device)
        baked.set_submodule(path, GroupedNorm(baked.get_submodule(path), table[rows], readable(table)[rows]))
    return baked
