"""Entropy and Kullback-Leibler divergence of categoricals, from their log probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def _weighted_sum(log_weights: Tensor, values: Tensor) -> Tensor:
    """Sum ``exp(log_weights) * values`` over the last dimension, with 0 * inf = 0 and no NaN in the gradient."""
    support = log_weights.detach().exp() > 0
    weights = torch.where(support, log_weights, 0.0).exp()
    return torch.where(support, weights * torch.where(support, values, 0.0), 0.0).sum(-1)


def categorical_entropy(log_probs: Tensor) -> Tensor:
    r"""Return the entropy :math:`H(p) = -\sum_g p_g \log p_g` of each categorical.

    Args:
        log_probs: Log probabilities (nats), shape (..., G); ``-inf`` stands for a probability of zero.

    Returns:
        Entropies in nats, shape (...).
    """
    return -_weighted_sum(log_probs, log_probs)


def categorical_kl(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    r"""Return :math:`KL(p \| q) = \sum_g p_g (\log p_g - \log q_g)` of each categorical.

    Args:
        log_probs: Log probabilities of p (nats), shape (..., G).
        log_prior: Log probabilities of q (nats), broadcastable to that shape.

    Returns:
        Divergences in nats, shape (...); infinite where p has mass and q has none.
    """
    log_probs, log_prior = torch.broadcast_tensors(log_probs, log_prior)  # type: ignore[no-untyped-call]
    return _weighted_sum(log_probs, log_probs - log_prior)


def mutual_information(log_probs: Tensor) -> Tensor:
    r"""Return how much S sampled categoricals disagree: the mutual information of outcome and sample, in nats.

    .. math:: I = H\left[\frac{1}{S} \sum_i p_i\right] - \frac{1}{S} \sum_i H[p_i]

    As an uncertainty of Bayesian networks: Houlsby, Huszár, Ghahramani & Lengyel, 2011, arXiv 1112.5745.

    Args:
        log_probs: Log probabilities of shape (S, ..., C).

    Returns:
        Shape (...), at least 0 (rounding below is cut off) and at most log C.
    """
    probs = log_probs.exp()
    expected = categorical_entropy(log_probs).mean(0)
    information: Tensor = torch.special.entr(probs.mean(0)).sum(-1) - expected
    return information.clamp_min(0)
