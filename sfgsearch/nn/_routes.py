"""Routes of branched networks: which of the nodes below each node reads.

The streams of a branched network are nodes: copies of a layer, each with all its filters. A route rearranges the
streams below a layer into the streams that its nodes read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from sfgsearch.functional import gumbel_softmax
from sfgsearch.nn._groups import GateSampling
from sfgsearch.nn._streams import StreamLayout, Streams

Parents = tuple[int | None, ...]
"""For every stream above, the stream below that it reads; None for a stream that is empty."""


class Route(nn.Module, ABC):
    """Base of routes: T+1 streams below in, T+1 streams above out."""

    @property
    @abstractmethod
    def parents(self) -> Parents:
        """The stream below that each of the T+1 streams above reads; the most probable one of a draw."""

    def layout(self, source: StreamLayout) -> StreamLayout:
        """Return the layout of the streams above from that of the streams below."""
        return StreamLayout(tuple(() if parent is None else source.members[parent] for parent in self.parents))

    @abstractmethod
    def forward(self, streams: Streams) -> Streams:
        """Return the streams above."""


class FixedRoute(Route):
    """Every stream reads a fixed one.

    Args:
        parents: The stream that each reads, None for an empty one.
    """

    def __init__(self, parents: Parents) -> None:
        super().__init__()
        self._parents = parents

    @property
    def parents(self) -> Parents:
        """See :class:`Route`."""
        return self._parents

    def forward(self, streams: Streams) -> Streams:
        """Return the streams above, which are the very tensors below."""
        return tuple(None if parent is None else streams[parent] for parent in self._parents)


class DrawnRoute(Route):
    r"""Every node above draws the node below that it reads, anew at every pass in training.

    .. math::
        x_j = \sum_i d_{ji}\, y_i, \qquad
        d_j = \mathrm{onehot}\Big(\arg\max_i (\log\theta_{ji} + \varepsilon_{ji})\Big), \qquad
        \varepsilon_{ji} \sim \mathrm{Gumbel}(0, 1)

    with :math:`\theta_j = \mathrm{softmax}(\text{logits}_j)`. The backward pass takes the gradient of the relaxed
    :math:`\mathrm{softmax}_i((\log\theta_{ji} + \varepsilon_{ji}) / \tau)` instead (Guo, Lee and Ulbricht, ICML 2020).
    In evaluation, and once the route has settled, every node reads its most probable parent.

    Args:
        children: Nodes above.
        parents: Nodes below, the first streams; a single one leaves nothing to learn.
        num_streams: T+1.
        sampling: How draws are made; its ``hard`` is not asked. An object of its own if None.

    Attributes:
        learning: Whether the logits get a gradient.
        settled: Whether training, too, takes the most probable parents instead of drawing.
    """

    logits: Tensor

    def __init__(self, children: int, parents: int, num_streams: int, sampling: GateSampling | None = None) -> None:
        super().__init__()
        self.sampling = sampling or GateSampling()
        self.learning, self.settled = True, False
        self._num_streams = num_streams
        self._fixed: Tensor | None = None
        self._drawn: Tensor | None = None
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
    def parents(self) -> Parents:
        """See :class:`Route`; the first parent where several are most probable."""
        chosen = (self.logits.argmax(-1) if self._fixed is None else self._fixed).tolist()
        return (*chosen, *[None] * (self._num_streams - len(chosen)))

    @property
    def drawn(self) -> Tensor:
        """The draw d of the last pass, shape (children, parents).

        Raises:
            RuntimeError: If there was no pass yet.
        """
        if self._drawn is None:
            raise RuntimeError("these parents have not been drawn yet; they are in a pass")
        return self._drawn

    def fix(self, parents: Sequence[int] | None) -> None:
        """Make every pass use the given parents until this is called with None.

        Args:
            parents: The parent of each child, or None.

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

    def forward(self, streams: Streams) -> Streams:
        """Draw parents and return what the nodes above read."""
        self._drawn = self._draw()
        return mix(self._drawn, streams)

    def _draw(self) -> Tensor:
        if self._fixed is None and self.training and not self.settled:
            log_probs = self.logits.log_softmax(-1)
            log_probs = log_probs if self.learning else log_probs.detach()
            return gumbel_softmax(log_probs, self.sampling.temperature, hard=True, generator=self.sampling.generator)
        chosen = self.logits.argmax(-1) if self._fixed is None else self._fixed.to(self.logits.device)
        return nn.functional.one_hot(chosen, self.logits.shape[1]).to(self.logits.dtype)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the draw of the last pass, which belongs to a graph and cannot be copied."""
        return {**self.__dict__, "_drawn": None}

    def extra_repr(self) -> str:
        """Describe the route in ``print(network)``."""
        children, parents = self.logits.shape
        return f"children={children}, parents={parents}"


class FollowedRoute(nn.Module):
    r"""Follow several draws upwards, as a shortcut around the layers that drew them does.

    With draws :math:`D_1, \dots, D_n` from below, node j gets :math:`\sum_i (D_n \cdots D_1)_{ji}\, y_i`: with one-hot
    draws the features of its own ancestor.

    Args:
        routes: What drew, the lowest first; they belong to their layers and must have been run in this pass.
    """

    def __init__(self, routes: Sequence[DrawnRoute]) -> None:
        super().__init__()
        self._routes = tuple(routes)  # in a tuple: the layers own them

    def forward(self, streams: Streams) -> Streams:
        """Return the streams of the ancestors."""
        return mix(reduce(lambda below, above: above @ below, (route.drawn for route in self._routes)), streams)


def mix(weights: Tensor, streams: Streams) -> Streams:
    """Return weighted sums of the first streams, followed by empty streams.

    Args:
        weights: Shape (children, parents).
        streams: The parents, all of one shape, then anything.
    """
    children, parents = weights.shape
    below = torch.stack(cast("list[Tensor]", list(streams[:parents])))
    above = torch.tensordot(weights, below, dims=1).unbind()
    return (*above, *[None] * (len(streams) - children))
