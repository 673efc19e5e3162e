"""Group priors of layers, and the probabilities from which their filters start to learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfgsearch._apportion import apportion
from sfgsearch._choices import InitialFamily


def simplex(probs: Sequence[float] | Tensor, num_groups: int, what: str = "probabilities") -> Tensor:
    """Check that ``probs`` is an interior point of the simplex over groups.

    Args:
        probs: One probability for each task in order, then shared; shape (G,).
        num_groups: G, the number of tasks plus one.
        what: What the values are called in error messages.

    Returns:
        The probabilities as a float64 tensor of shape (G,), normalised exactly.

    Raises:
        ValueError: If there are not G values, one is not positive, or they do not sum to one within 1e-4.
    """
    values = torch.as_tensor(probs, dtype=torch.float64).detach().cpu()
    listed = values.tolist()
    if values.shape != (num_groups,):
        raise ValueError(f"{what} must be {num_groups} numbers (one per task, then shared), got {listed}")
    if not bool((values > 0).all()):
        raise ValueError(
            f"{what} must all be positive (a group of probability zero could never be drawn), got {listed}"
        )
    if abs(math.fsum(listed) - 1) > 1e-4:
        raise ValueError(f"{what} must sum to one, got {listed} with sum {math.fsum(listed):g}")
    return values / values.sum()


def uniform_prior(num_tasks: int) -> Tensor:
    """Return the prior that favours no group, float64 of shape (T+1,)."""
    return torch.full((num_tasks + 1,), 1 / (num_tasks + 1), dtype=torch.float64)


def linear_depth_prior(
    num_layers: int, num_tasks: int, first: float, last: float, task_ratio: Sequence[float] | None = None
) -> Tensor:
    """Return priors whose shared mass goes linearly from the first layer to the last.

    Args:
        num_layers: L, the number of layers in depth order.
        num_tasks: T.
        first: Shared probability of the first layer, in (0, 1).
        last: Shared probability of the last layer, in (0, 1).
        task_ratio: T positive numbers by which the tasks split the rest; equal if None.

    Returns:
        Priors, float64 of shape (L, T+1), shared in the last column.

    Raises:
        ValueError: If a shared mass is outside (0, 1) or the ratio does not fit the tasks.
    """
    for name, mass in (("first", first), ("last", last)):
        if not 0 < mass < 1:
            raise ValueError(f"{name} must be a shared probability between 0 and 1, both excluded, got {mass}")
    ratio = torch.ones(num_tasks) if task_ratio is None else torch.as_tensor(task_ratio)
    ratio = ratio.to(torch.float64)
    if ratio.shape != (num_tasks,) or not bool((ratio > 0).all()):
        raise ValueError(f"task_ratio must be {num_tasks} positive numbers, one per task, got {ratio.tolist()}")
    shared = torch.linspace(first, last, num_layers, dtype=torch.float64)[:, None]
    return torch.cat([(1 - shared) * ratio / ratio.sum(), shared], dim=1)


NEAR_VERTEX_PROBABILITY = 0.99


def initial_probs(
    family: InitialFamily,
    num_filters: int,
    centre: Tensor,
    generator: torch.Generator,
    concentration: float = 1.0,
) -> Tensor:
    """Return the probabilities from which the filters of a layer start to learn.

    Args:
        family: ``"prior"`` and ``"fixed"`` start every filter at ``centre``; ``"dirichlet"`` draws each filter from
            a Dirichlet with mean ``centre``; ``"near_vertex"`` puts 0.99 on one group, filters being dealt to
            groups in proportion to ``centre``.
        num_filters: K.
        centre: A point of the simplex, shape (T+1,).
        generator: Source of randomness of the Dirichlet draws.
        concentration: Dirichlet parameters are ``concentration * (T+1) * centre``; 1 with a uniform centre draws
            uniformly on the simplex.

    Returns:
        Probabilities, float64 of shape (K, T+1).

    Raises:
        ValueError: If the family is unknown.
    """
    num_groups = len(centre)
    centre = centre.to(torch.float64)
    if family in ("prior", "fixed"):
        return centre.expand(num_filters, num_groups).clone()
    if family == "dirichlet":
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        alpha = (concentration * num_groups * centre).numpy()
        return torch.from_numpy(np.random.default_rng(seed).dirichlet(alpha, num_filters))
    if family == "near_vertex":
        groups = torch.arange(num_groups).repeat_interleave(torch.tensor(apportion(num_filters, centre.tolist())))
        rest = (1 - NEAR_VERTEX_PROBABILITY) / max(num_groups - 1, 1)
        probs = torch.full((num_filters, num_groups), rest, dtype=torch.float64)
        return probs.scatter_(1, groups[:, None], NEAR_VERTEX_PROBABILITY)
    raise ValueError(f"initial probabilities must be prior, fixed, dirichlet or near_vertex, got {family!r}")
