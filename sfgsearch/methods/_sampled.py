"""Compact networks of sampled assignments: Monte-Carlo prediction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sfgsearch.graph import repair_assignment
from sfgsearch.methods._method import Calibration
from sfgsearch.nn import GroupedNetwork, MonteCarloEnsemble, NetworkSpec, reestimate_statistics


def sample_assignments(network: GroupedNetwork, samples: int) -> list[dict[str, Tensor]]:
    """Return S assignments drawn from the probabilities; the same draws whenever asked.

    Args:
        network: A network in groups.
        samples: S.
    """
    generator = torch.Generator().manual_seed(0)
    groups, analysis = network.groups, network.analysis
    probs = groups.choice_probs.detach().cpu()
    draws = [torch.multinomial(probs, 1, generator=generator).squeeze(1) for _ in range(samples)]
    return [network.by_space(repair_assignment(analysis, draw, groups.log_probs)[0]) for draw in draws]


def monte_carlo_ensemble(
    network: GroupedNetwork, spec: NetworkSpec, assignments: Sequence[dict[str, Tensor]], calibration: Calibration
) -> MonteCarloEnsemble:
    """Return the ensemble of the compact networks of assignments, each with batch-norm statistics of its own.

    Args:
        network: The network in groups.
        spec: What built it.
        assignments: Group of every filter by channel space, for every member.
        calibration: Returns a fresh pass over training images.
    """
    members = [network.compact(assignment) for assignment in assignments]
    for member in members:
        reestimate_statistics(member, calibration())
    return MonteCarloEnsemble(members, {task.name: task.average for task in spec.tasks})
