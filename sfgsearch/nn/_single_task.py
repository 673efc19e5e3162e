"""One full network per task."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sfgsearch.nn._network import NetworkSpec


class SingleTaskNetworks(nn.Module):
    """T networks side by side, each of which predicts one task.

    Args:
        networks: The networks, each with predictions by task name.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    @classmethod
    def of(cls, spec: NetworkSpec, generator: torch.Generator | None = None) -> SingleTaskNetworks:
        """Build them.

        Args:
            spec: The network of which every task gets one.
            generator: Fixes the weights that are drawn.
        """
        return cls(spec.build(generator, [task]) for task in spec.tasks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        return {name: prediction for network in self.networks for name, prediction in network(images).items()}
