"""Cross-stitch networks: one network per task, whose layers read mixed features of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from sfgsearch.graph import Analysis, Copies, Layer, LockstepNetwork, Read, Reading, are_one
from sfgsearch.nn._lockstep import build_lockstep
from sfgsearch.nn._network import NetworkSpec
from sfgsearch.nn._structure import Structure, structures

Granularity = Literal["layer", "channel"]


class CrossStitch(Reading):
    r"""Mixes what a layer reads of the tasks' networks, channel k of one with channel k of the others.

    .. math:: \tilde{x}_t[k] = \sum_{u=1}^{T} \alpha_{tuk}\, x_u[k]

    (Misra, Shrivastava, Gupta & Hebert, CVPR 2016, equation 1, for any number of tasks.) There is one unit for each
    channel space, and it mixes the channels of that space wherever a convolution or linear layer reads them, heads
    included; depthwise layers do not count. Shortcuts are not mixed, so that a residual network keeps a trunk per task.

    Args:
        analysis: The network.
        per: ``"channel"`` learns every :math:`\alpha_{tuk}`, ``"layer"`` one :math:`\alpha_{tu}` for a channel space.
        own: The initial :math:`\alpha_{tt}`; the other tasks share the rest evenly. One for T = 1.

    Attributes:
        alphas: The coefficients of every channel space, shape (T, T, K) or (T, T, 1).

    Raises:
        ValueError: If ``per`` is unknown.
    """

    def __init__(self, analysis: Analysis, per: Granularity = "channel", own: float = 0.9) -> None:
        super().__init__()
        if per not in get_args(Granularity):
            raise ValueError(f"per must be one of {', '.join(get_args(Granularity))}, got {per!r}")
        self._tasks, self._filters = analysis.num_tasks, tuple(analysis.filters.values())
        others = (1 - own) / max(self._tasks - 1, 1)
        mix = torch.full((self._tasks, self._tasks), others).fill_diagonal_(own if self._tasks > 1 else 1.0)
        self.alphas = nn.ParameterList(
            mix[..., None].repeat(1, 1, number if per == "channel" else 1) for number in self._filters
        )
        self._rows = {layer.weight: f"rows{index}" for index, layer in enumerate(analysis.readers.values())}
        for layer in analysis.readers.values():  # as buffers, which are on the network's device
            rows = layer.reads.flatten()
            self.register_buffer(self._rows[layer.weight], rows * (rows <= analysis.num_filters), persistent=False)

    def sources(self, layer: Layer, copy: int) -> range:
        """Return all tasks."""
        del layer, copy
        return range(self._tasks)

    def forward(self) -> Read:
        """Return what mixes."""
        like = self.alphas[0]
        identity = torch.eye(self._tasks, dtype=like.dtype, device=like.device)  # of what all groups read, and of heads
        units = [alpha.expand(-1, -1, number) for alpha, number in zip(self.alphas, self._filters, strict=True)]
        return partial(self._mix, torch.cat([identity[..., None], *units], 2))

    def _mix(self, table: Tensor, layer: Layer, values: Copies, copies: Sequence[int]) -> Copies:
        """Return the mixed channels; the table has the coefficients of rows 0..F of the table of gates, (T, T, F+1)."""
        if self._tasks > 1 and are_one(values):  # such as images
            return dict.fromkeys(copies, values[0])
        alpha = table.index_select(2, getattr(self, self._rows[layer.weight]))
        features = torch.stack([values[task] for task in range(self._tasks)])
        equation = "tuk,ub...k->tb...k" if layer.dim == -1 else "tuk,ubk...->tbk..."
        mixed = torch.einsum(equation, torch.stack([alpha[copy] for copy in copies]), features)
        return dict(zip(copies, mixed, strict=True))


def build_cross_stitch(
    spec: NetworkSpec, per: Granularity = "channel", own: float = 0.9, generator: torch.Generator | None = None
) -> LockstepNetwork:
    """Build one full-width network per task, with the units that mix them; see :class:`CrossStitch`."""
    return build_lockstep(spec, len(spec.tasks), CrossStitch(spec.plain_analysis, per, own), generator)


def cross_stitch_structure(per: Granularity) -> Structure:
    """Return the structure of what :func:`build_cross_stitch` built; the coefficients are in the state dict."""
    return Structure("cross_stitch", {"per": per})


@structures.register("cross_stitch")
def _build(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return build_cross_stitch(spec, details["per"])
