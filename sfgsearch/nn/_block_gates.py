"""Gates of residual blocks: how much of each block's branch every task adds, and how it learns that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.functional import gumbel_softmax
from sfgsearch.graph import Analysis, Copies, Junction, Reading, ResidualBlock, Run, residual_blocks
from sfgsearch.nn._groups import GateSampling

Policy = Mapping[str, tuple[bool, ...]]
"""For every residual block, by name, whether each task selects it."""


class BlockGate(nn.Module, Junction):
    r"""Draws for every task how much of a residual block's branch it adds to the shortcut.

    .. math:: y_t = x_t + u_t\, f(x_t), \qquad (u_t, 1 - u_t) = \mathrm{softmax}\Big(\frac{
        (\log\alpha_t + g_1,\ \log(1 - \alpha_t) + g_2)}{\tau}\Big), \qquad g \sim \mathrm{Gumbel}(0, 1)

    with :math:`\alpha_t = \mathrm{sigmoid}(\text{logits}_t)` (Sun et al., NeurIPS 2020). In evaluation, and once the
    policy has settled, u is 1 where the block is selected with a probability of at least one half, and 0 elsewhere.

    Args:
        block: The block.
        num_tasks: T.
        sampling: How draws are made; its ``hard`` is not asked.

    Attributes:
        learning: Whether the block has a policy yet; without one all tasks select it.
        settled: Whether training, too, takes the most probable policy instead of drawing.
    """

    def __init__(self, block: ResidualBlock, num_tasks: int, sampling: GateSampling) -> None:
        super().__init__()
        self.block, self.sampling = block, sampling
        self.learning, self.settled = True, False
        self.logits = nn.Parameter(torch.zeros(num_tasks))

    @property
    def selected(self) -> tuple[bool, ...]:
        """Whether each task most probably selects the block."""
        return tuple((self.logits >= 0).tolist())

    def forward(self) -> Tensor:
        """Return u, shape (T,)."""
        if not self.learning:
            return torch.ones_like(self.logits)
        if self.settled or not self.training:
            return (self.logits >= 0).to(self.logits.dtype)
        log_probs = nn.functional.logsigmoid(torch.stack([self.logits, -self.logits], -1))
        return gumbel_softmax(log_probs, self.sampling.temperature, generator=self.sampling.generator)[:, 0]

    def sources(self, node: fx.Node, copy: int) -> dict[fx.Node, tuple[int]]:
        """Return the task's own copies."""
        return dict.fromkeys(node.all_input_nodes, (copy,))

    def join(self, run: Run, values: Mapping[fx.Node, Copies], copies: Sequence[int]) -> Copies:
        """Return shortcuts and gated branches, added."""
        gates, branches = self(), values[self.block.branch]
        return run({**values, self.block.branch: {copy: gates[copy] * branches[copy] for copy in copies}}, copies)


class DrawnPolicy(Reading):
    """Lets every task draw how much it adds of each residual block's branch; see :class:`BlockGate`.

    Args:
        analysis: The network.
        sampling: How all gates draw.

    Raises:
        BackboneError: If the backbone has no residual blocks.
    """

    def __init__(self, analysis: Analysis, sampling: GateSampling) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            BlockGate(block, analysis.num_tasks, sampling) for block in blocks_to_select(analysis)
        )

    @property
    def junctions(self) -> dict[str, Junction]:
        """The residual blocks."""
        return {gate.block.node.name: gate for gate in cast("Iterable[BlockGate]", self.gates)}

    @property
    def likely(self) -> Policy:
        """The most probable policy."""
        return {gate.block.name: gate.selected for gate in cast("Iterable[BlockGate]", self.gates)}


def blocks_to_select(analysis: Analysis) -> tuple[ResidualBlock, ...]:
    """Return the residual blocks of a backbone.

    Raises:
        BackboneError: If there are none.
    """
    blocks = residual_blocks(analysis)
    if not blocks:
        raise BackboneError(
            "adashare selects residual blocks, and this backbone has none; choose one with shortcuts, such as resnet "
            "or highresnet"
        )
    return blocks
