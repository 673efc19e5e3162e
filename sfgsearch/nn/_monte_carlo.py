"""Monte-Carlo prediction: the average over sampled assignments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


class MonteCarloEnsemble(nn.Module):
    r"""Averages the predictive distributions of networks with sampled assignments.

    .. math:: p(y \mid x) \approx \frac{1}{S} \sum_{i=1}^{S} p(y \mid x, z^{(i)}), \qquad z^{(i)} \sim \mathrm{Cat}(p)

    Each member is a compact network with batch-norm statistics of its own assignment; the running statistics of
    the trained network would mix all of them.

    Args:
        members: S networks that map images to predictions by task.
        averages: For every task, what averages its stacked predictions (S, B, ...) to (B, ...).
    """

    def __init__(self, members: Sequence[nn.Module], averages: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._averages = dict(averages)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the averaged predictions by task name for images of shape (B, C, *space)."""
        samples = self.samples(images)
        return {name: average(samples[name]) for name, average in self._averages.items()}

    def samples(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions of all members by task name, shape (S, B, ...)."""
        predictions = [member(images) for member in self.members]
        return {name: torch.stack([prediction[name] for prediction in predictions]) for name in self._averages}
