"""Compact networks of sampled assignments: Monte-Carlo prediction with a masked network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sfgsearch.nn import (
    Derived,
    MonteCarloEnsemble,
    MultiTaskNetwork,
    NetworkSpec,
    derive,
    reestimate_statistics,
    sfg_layers,
)


def sample_derived(network: MultiTaskNetwork, spec: NetworkSpec, samples: int) -> list[Derived]:
    """Return the compact networks of S assignments drawn from the probabilities; the same draws whenever asked.

    Args:
        network: A masked network.
        spec: What built it.
        samples: S.
    """
    generator = torch.Generator().manual_seed(0)
    shares = {name: layer.groups.probs.detach().cpu() for name, layer in sfg_layers(network).items()}
    return [
        derive(
            network,
            spec,
            {name: torch.multinomial(probs, 1, generator=generator).squeeze(1) for name, probs in shares.items()},
        )
        for _ in range(samples)
    ]


def monte_carlo_ensemble(
    members: list[Derived], spec: NetworkSpec, calibration: Callable[[], Iterable[Tensor]]
) -> MonteCarloEnsemble:
    """Return the ensemble of compact networks, each with batch-norm statistics of its own.

    Args:
        members: The networks, on their device.
        spec: What built them.
        calibration: Returns a fresh pass over training images.
    """
    for member in members:
        reestimate_statistics(member.network, calibration())
    return MonteCarloEnsemble([member.network for member in members], {task.name: task.average for task in spec.tasks})
