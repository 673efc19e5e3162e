"""NDDR-CNN: one network per task, whose features are fused by 1x1 convolutions at the ends of stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from sfgsearch.graph import Analysis, Copies, Junction, LockstepNetwork, Reading, Run, stage_ends
from sfgsearch.nn._lockstep import build_lockstep
from sfgsearch.nn._network import NetworkSpec
from sfgsearch.nn._structure import Structure, structures

_MOMENTUM = 0.05
"""Of the running statistics, as in the authors' code."""


class FusionLayer(nn.Module, Junction):
    r"""Replaces the features of the tasks' networks by fused ones, which all that follows reads.

    .. math:: \tilde{x}_t = \mathrm{ReLU}(\mathrm{BN}_t(W_t * [x_1, \ldots, x_T])), \qquad
        (W_t)_{k, uc} = \mathbb{1}[k = c] \begin{cases} \alpha & u = t \\ (1 - \alpha) / (T - 1) & u \neq t
        \end{cases} \quad \text{at the start}

    with 1x1 kernels W_t (Gao et al., CVPR 2019, for any number of tasks). The convolutions of all tasks read the same
    channels, so they are one.

    Args:
        num_tasks: T.
        channels: K, of every task's features.
        dimensions: Spatial dimensions of features: 0 for vectors, 2, or 3.
        own: The initial coefficient alpha of a task's own features.
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
    """Fuses features at the ends of stages; see :func:`~sfgsearch.graph.stage_ends`. A single task has nothing to fuse.

    Args:
        analysis: The network.
        own: See :class:`FusionLayer`.
    """

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
def _build(spec: NetworkSpec, details: Mapping[str, Any]) -> nn.Module:
    del details
    return build_nddr(spec)
