"""One network per task, whose features are mixed: cross-stitch networks and NDDR-CNN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph import Analysis, Copies, Junction, Layer, LockstepNetwork, Read, Reading, Run, are_one, stage_ends
from sfgsearch.nn._network import NetworkSpec, build_lockstep
from sfgsearch.nn._structure import Structure, structures

Granularity = Literal["layer", "channel"]

_MOMENTUM = 0.05
"""Momentum of the running statistics of NDDR, as in the authors' code."""


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
def _build_cross_stitch(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    return build_cross_stitch(spec, details["per"])


class FusionLayer(nn.Module, Junction):
    r"""Replaces the features of the tasks' networks by fused ones, which all that follows reads.

    .. math:: \tilde{x}_t = \mathrm{ReLU}(\mathrm{BN}_t(W_t * [x_1, \ldots, x_T])), \qquad
        (W_t)_{k, uc} = \mathbb{1}[k = c] \begin{cases} \alpha & u = t \\ (1 - \alpha) / (T - 1) & u \neq t
        \end{cases} \quad \text{at the start}

    with 1x1 kernels W_t (Gao et al., CVPR 2019, for any number of tasks). The convolutions of all tasks read the same
    channels, so they are one.
    """

    def __init__(self, num_tasks: int, channels: int, dimensions: int, own: float) -> None:
        super().__init__()
        width, self._tasks = num_tasks * channels, num_tasks
        convolution, norm = _LAYERS[dimensions]
        self.convolution, self.norm = convolution(width, width), norm(width, momentum=_MOMENTUM)
        mix = torch.full((num_tasks, num_tasks), (1 - own) / (num_tasks - 1)).fill_diagonal_(own)
        weight = cast(Tensor, self.convolution.weight)
        with torch.no_grad():
            weight.copy_(torch.kron(mix, torch.eye(channels)).view_as(weight))

    def sources(self, node: fx.Node, copy: int) -> dict[fx.Node, range]:
        """Return the copies of all tasks."""
        del copy
        return dict.fromkeys(node.all_input_nodes, range(self._tasks))

    def join(self, run: Run, values: Mapping[fx.Node, Copies], copies: Sequence[int]) -> Copies:
        """Return the fused features."""
        features = run(values, range(self._tasks))
        fused = self(torch.cat([features[task] for task in range(self._tasks)], 1)).chunk(self._tasks, 1)
        return {copy: fused[copy] for copy in copies}

    def forward(self, features: Tensor) -> Tensor:
        """Return the fused features of all tasks, shape (B, T K, *space), as they were."""
        fused: Tensor = self.norm(self.convolution(features))
        return fused.relu()


_LAYERS: Mapping[int, tuple[Any, Any]] = {
    0: (lambda read, written: nn.Linear(read, written, bias=False), nn.BatchNorm1d),
    2: (lambda read, written: nn.Conv2d(read, written, 1, bias=False), nn.BatchNorm2d),
    3: (lambda read, written: nn.Conv3d(read, written, 1, bias=False), nn.BatchNorm3d),
}


class Fusion(Reading):
    """Fuses features of several tasks at the ends of stages; see :func:`~sfgsearch.graph.stage_ends`."""

    def __init__(self, analysis: Analysis, own: float = 0.9) -> None:
        super().__init__()
        tasks = analysis.num_tasks
        ends = stage_ends(analysis) if tasks > 1 else ()
        shapes = [tuple(end.meta["val"].shape) for end in ends]
        self.layers = nn.ModuleList(FusionLayer(tasks, int(shape[1]), len(shape) - 2, own) for shape in shapes)
        self._names = tuple(end.name for end in ends)

    @property
    def junctions(self) -> dict[str, Junction]:
        """The ends of stages."""
        return dict(zip(self._names, cast("Iterable[Junction]", self.layers), strict=True))


def build_nddr(spec: NetworkSpec, own: float = 0.9, generator: torch.Generator | None = None) -> LockstepNetwork:
    """Build one full-width network per task, with the layers that fuse their features; see :class:`Fusion`."""
    return build_lockstep(spec, len(spec.tasks), Fusion(spec.plain_analysis, own), generator)


def nddr_structure() -> Structure:
    """Return the structure of what :func:`build_nddr` built."""
    return Structure("nddr")


@structures.register("nddr")
def _build_nddr(spec: NetworkSpec, _details: Mapping[str, Any]) -> nn.Module:
    return build_nddr(spec)
