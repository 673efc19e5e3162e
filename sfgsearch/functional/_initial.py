"""Initial group probabilities of a layer's filters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfgsearch._apportion import apportion
from sfgsearch._choices import InitialFamily

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
