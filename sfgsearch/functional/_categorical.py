"""Categoricals from their log probabilities: entropy, divergence and relaxed draws."""

from __future__ import annotations

from typing import Any

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


class _StraightThrough(torch.autograd.Function):
    """One-hot argmax forward, identity backward.

    The familiar ``hard + soft - soft.detach()`` leaves rounding residue next to zero and one, through which a
    filter would leak into groups that it was not drawn into; this function is exact.
    """

    @staticmethod
    def forward(ctx: Any, relaxed: Tensor) -> Tensor:
        return torch.zeros_like(relaxed).scatter_(-1, relaxed.argmax(-1, keepdim=True), 1.0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def gumbel_softmax(
    log_probs: Tensor, temperature: float, hard: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    r"""Draw relaxed one-hot samples of categoricals.

    .. math:: z = \mathrm{softmax}((\log p + g) / \tau), \qquad g \sim \mathrm{Gumbel}(0, 1)

    The argmax of a sample follows p at every temperature (Jang et al., ICLR 2017; Maddison et al., ICLR 2017).

    Args:
        log_probs: Log probabilities (nats), shape (..., G).
        temperature: tau > 0, without a unit.
        hard: Return exact one-hot samples whose gradient is that of the relaxed ones (straight-through).
        generator: Source of randomness; the default generator of torch if None.

    Returns:
        Samples of the shape of ``log_probs``, each summing to one over the last dimension.

    Raises:
        ValueError: If the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    waiting_times = torch.empty_like(log_probs).exponential_(generator=generator)
    # An exponential variate can round to zero, whose Gumbel would be infinite and the softmax NaN.
    gumbel = -waiting_times.clamp_min_(torch.finfo(log_probs.dtype).tiny).log_()
    relaxed = ((log_probs + gumbel) / temperature).softmax(-1)
    if not hard:
        return relaxed
    return _StraightThrough.apply(relaxed)  # type: ignore[no-any-return,no-untyped-call]
