"""Branched networks in training: every copy of a layer draws the copy below that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, fx, nn

from sfgsearch.functional import gumbel_softmax
from sfgsearch.graph import Analysis, Copies, Layer, LockstepNetwork, Read, Reading, are_one, layer_macs
from sfgsearch.nn._groups import GateSampling
from sfgsearch.nn._network import NetworkSpec, build_lockstep


class DrawnRoute(nn.Module):
    r"""Draws for every copy of a layer the copy below that it reads, anew at every pass in training.

    .. math::
        d_j = \mathrm{onehot}\Big(\arg\max_i (\log\theta_{ji} + \varepsilon_{ji})\Big), \qquad
        \varepsilon_{ji} \sim \mathrm{Gumbel}(0, 1)

    with :math:`\theta_j = \mathrm{softmax}(\text{logits}_j)`. The backward pass takes the gradient of the relaxed
    :math:`\mathrm{softmax}_i((\log\theta_{ji} + \varepsilon_{ji}) / \tau)` instead (Guo, Lee and Ulbricht, ICML 2020).
    In evaluation, and once the route has settled, every copy reads its most probable parent.

    Args:
        children: Copies of the layer, or heads.
        parents: Copies below; a single one leaves nothing to learn.
        sampling: How draws are made; its ``hard`` is not asked. An object of its own if None.

    Attributes:
        learning: Whether the logits get a gradient.
        settled: Whether training, too, takes the most probable parents instead of drawing.
    """

    logits: Tensor

    def __init__(self, children: int, parents: int, sampling: GateSampling | None = None) -> None:
        super().__init__()
        self.sampling = sampling or GateSampling()
        self.learning, self.settled = True, False
        self._fixed: Tensor | None = None
        logits = torch.zeros(children, parents)
        if parents > 1:
            self.register_parameter("logits", nn.Parameter(logits))
        else:
            self.register_buffer("logits", logits, persistent=False)

    @property
    def probs(self) -> Tensor:
        """Probabilities of the parents, shape (children, parents)."""
        return self.logits.softmax(-1)

    @property
    def parents(self) -> tuple[int, ...]:
        """The most probable parent of every child, the first one where several are; those that are fixed."""
        return tuple((self.logits.argmax(-1) if self._fixed is None else self._fixed).tolist())

    def fix(self, parents: Sequence[int] | None) -> None:
        """Make every pass use the given parents until this is called with None.

        Raises:
            ValueError: If the number of parents or one of them is out of range.
        """
        if parents is None:
            self._fixed = None
            return
        children, choices = self.logits.shape
        if len(parents) != children or not all(0 <= parent < choices for parent in parents):
            raise ValueError(f"parents must be {children} numbers 0..{choices - 1}, got {list(parents)}")
        self._fixed = torch.tensor(parents)

    def forward(self) -> Tensor:
        """Return d, one-hot of shape (children, parents)."""
        if self._fixed is None and self.training and not self.settled:
            log_probs = self.logits.log_softmax(-1)
            log_probs = log_probs if self.learning else log_probs.detach()
            return gumbel_softmax(log_probs, self.sampling.temperature, hard=True, generator=self.sampling.generator)
        chosen = self.logits.argmax(-1) if self._fixed is None else self._fixed.to(self.logits.device)
        return nn.functional.one_hot(chosen, self.logits.shape[1]).to(self.logits.dtype)

    def extra_repr(self) -> str:
        """Describe the route in ``print(network)``."""
        children, parents = self.logits.shape
        return f"children={children}, parents={parents}"


class DrawnRoutes(Reading):
    r"""Reads for copy j of a layer, or head j, one copy of all that it reads: the one that its draw chooses.

    .. math:: x_j = \sum_i d_{ji}\, y_i

    Layers that read only the image, and depthwise ones, have no choice. Copy j of layers whose outputs are added is
    added up in copy j: the trunk of a residual network is one node, which branches where layers read it.
    """

    def __init__(self, analysis: Analysis, branches: int, sampling: GateSampling | None = None) -> None:
        super().__init__()
        sampling = sampling or GateSampling()
        self._branches, self._weights = branches, routed_layers(analysis)
        self.layers = nn.ModuleList(DrawnRoute(branches, branches, sampling) for _ in self._weights)
        self.heads = DrawnRoute(analysis.num_tasks, branches, sampling)

    @property
    def routes(self) -> dict[str, DrawnRoute]:
        """The routes of the backbone's layers by the names of their weights, in the order in which they run."""
        return dict(zip(self._weights, cast("list[DrawnRoute]", list(self.layers)), strict=True))

    def sources(self, layer: Layer, copy: int) -> range:
        """Return all copies."""
        del layer, copy
        return range(self._branches)

    def forward(self) -> Read:
        """Draw for all layers and heads."""
        draws = {weight: route() for weight, route in self.routes.items()}
        return partial(self._mix, draws, self.heads())

    def _mix(
        self, draws: Mapping[str, Tensor], heads: Tensor, layer: Layer, values: Copies, copies: Sequence[int]
    ) -> Copies:
        if are_one(values):  # such as images, or the only copy
            return dict.fromkeys(copies, values[0])
        draw = draws.get(layer.weight, heads)
        below = torch.stack([values[copy] for copy in range(self._branches)])
        above = torch.tensordot(torch.stack([draw[copy] for copy in copies]), below, dims=1)
        return dict(zip(copies, above, strict=True))


def routed_layers(analysis: Analysis) -> tuple[str, ...]:
    """Return the weights of the layers that are not heads and choose what they read, in the order in which they run."""
    choosing = (layer for layer in analysis.readers.values() if int(layer.writes.min()) <= analysis.num_filters)
    return tuple(dict.fromkeys(layer.weight for layer in choosing))


def build_branching(
    spec: NetworkSpec,
    branches: int,
    sampling: GateSampling | None = None,
    generator: torch.Generator | None = None,
) -> LockstepNetwork:
    """Build B copies of every layer, each of which draws the copy below that it reads; see :class:`DrawnRoutes`.

    Raises:
        ValueError: If B is not 1 to T.
    """
    if not 1 <= branches <= len(spec.tasks):
        raise ValueError(f"branches must be 1 to {len(spec.tasks)}, the number of tasks, got {branches}")
    return build_lockstep(spec, branches, DrawnRoutes(spec.plain_analysis, branches, sampling), generator)


def draw_tree_cost(network: LockstepNetwork) -> Tensor:
    r"""Draw a tree, and return its multiply-adds as a part of those of hard sharing.

    A copy i of a layer is in the tree, :math:`t_i = 1`, if any copy j that is in it reads it:

    .. math:: t_i = 1 - \prod_j \big( 1 - t_j\, d_{ji} \big)

    from the heads, which are all in it, down. Draws have the gradients of relaxed ones; see
    :class:`~sfgsearch.nn.DrawnRoute`. The resources of Bruggemann et al. (BMVC 2020) likewise are those of the branches
    that are drawn.

    Returns:
        A scalar from 1 to B; of the most probable tree in evaluation, and once routes have settled.
    """
    analysis = network.analysis
    drawn = cast(DrawnRoutes, network.reading)
    parents, heads = {weight: route() for weight, route in drawn.routes.items()}, drawn.heads()
    absent: dict[fx.Node, Tensor] = {}
    for task, output in enumerate(analysis.trace.outputs):
        absent[output] = 1 - torch.eye(analysis.num_tasks, device=heads.device)[task]
    for node in reversed(list(analysis.trace.operations)):
        if node not in absent:
            continue
        layer = analysis.readers.get(node.name)
        for other in node.all_input_nodes:
            by_node = absent[node]
            if layer and other is node.args[0]:
                chosen = parents.get(layer.weight, heads)
                by_node = (1 - (1 - by_node)[:, None] * chosen).prod(0)
            absent[other] = absent[other] * by_node if other in absent else by_node
    macs = layer_macs(analysis)
    costs = [macs[layer.weight] * (1 - absent[layer.node]).sum() for layer in analysis.layers]
    return torch.stack(costs).sum() / sum(macs.values())
