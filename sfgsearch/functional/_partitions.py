"""Random partitions of a layer's filters among tasks, and how they roam."""

from __future__ import annotations

import torch
from torch import Tensor


def random_masks(num_filters: int, num_tasks: int, sharing: float, generator: torch.Generator) -> Tensor:
    r"""Draw which filters each task holds.

    Filters are dealt to the tasks in random order, in parts :math:`P_t` as equal as can be. Each task then takes a
    random subset :math:`S_t` of the filters that it was not dealt:

    .. math:: m_{tk} = \mathbb{1}[k \in P_t \cup S_t], \qquad |S_t| = \mathrm{round}(\sigma\, (K - |P_t|))

    So every filter serves a task, :math:`\sigma = 0` shares nothing and :math:`\sigma = 1` everything; of two tasks,
    both hold the proportion :math:`\sigma` of the filters. Where there are fewer filters than tasks, those without a
    part take one filter nevertheless.

    Args:
        num_filters: K >= 1.
        num_tasks: T >= 1.
        sharing: The sharing ratio sigma, from 0 to 1.
        generator: Source of randomness, on the CPU.

    Returns:
        Masks m, bool of shape (T, K).

    Raises:
        ValueError: If the sharing ratio is outside [0, 1].
    """
    if not 0 <= sharing <= 1:
        raise ValueError(f"sharing must be from 0 to 1, got {sharing}")
    masks = torch.zeros(num_tasks, num_filters, dtype=torch.bool)
    order = torch.randperm(num_filters, generator=generator)
    masks[torch.arange(num_filters) % num_tasks, order] = True
    for mask in masks:
        part, lacking = int(mask.sum()), int((~mask).sum())
        mask[_choose(~mask, max(round(sharing * lacking), 0 if part else 1), generator)] = True
    return masks


def roam(masks: Tensor, visited: Tensor, swaps: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    r"""Exchange filters that tasks hold for filters that they have never held.

    .. math::
        m'_{tk} = m_{tk} - \mathbb{1}[k \in D_t] + \mathbb{1}[k \in A_t], \qquad
        D_t \subset \{k : m_{tk} = 1\}, \quad A_t \subset \{k : v_{tk} = 0\}, \qquad v' = \max(v, m')

    with uniform random subsets :math:`|D_t| = |A_t|`, so that a task keeps as many filters as it had. (Pascal,
    Michiardi, Bost, Huet & Zuluaga, AAAI 2021: one filter for one.)

    Args:
        masks: Which filters each task holds, m, bool of shape (T, K).
        visited: Which it has held so far, v, bool of shape (T, K).
        swaps: How many filters each task exchanges, int64 of shape (T,); fewer where it lacks them.
        generator: Source of randomness, on the CPU.

    Returns:
        The new masks and the filters held so far.
    """
    roamed = masks.clone()
    for task, number in enumerate(swaps.tolist()):
        number = min(number, int(masks[task].sum()), int((~visited[task]).sum()))
        roamed[task, _choose(masks[task], number, generator)] = False
        roamed[task, _choose(~visited[task], number, generator)] = True
    return roamed, visited | roamed


def _choose(candidates: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Return the indices of so many random candidates out of a mask."""
    indices = torch.nonzero(candidates).flatten()
    return indices[torch.randperm(len(indices), generator=generator)[:number]]
