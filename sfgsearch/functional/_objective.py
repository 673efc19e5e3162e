"""The variational objective of a training step."""

from __future__ import annotations

from torch import Tensor


def variational_objective(
    negative_log_likelihood: Tensor,
    kl: Tensor,
    squared_weight_norm: Tensor,
    num_examples: int,
    kl_weight: float = 1.0,
    length_scale: float = 1.0,
) -> Tensor:
    r"""Return the (tempered) negative ELBO per training example.

    .. math:: L = \overline{NLL} + \frac{1}{N} \Big[ \beta\, KL + \frac{l^2}{2} \|W\|^2 \Big]

    Variational inference with a (T+1)-way dropout posterior (Bragman et al., ICCV 2019): the prior terms belong to
    the whole training set, hence 1/N. The weights have the same prior whatever the divergence of groups counts.

    Args:
        negative_log_likelihood: Task-weighted mean over the batch, scalar, in nats.
        kl: Sum over layers and filters of KL(Cat(p) || Cat(prior)), scalar, in nats.
        squared_weight_norm: ||W||^2, scalar.
        num_examples: N > 0, the size of the training set.
        kl_weight: beta; 1 gives the ELBO, other values temper the divergence of groups.
        length_scale: l, the prior length scale of the weights.
    """
    return negative_log_likelihood + (kl_weight * kl + 0.5 * length_scale**2 * squared_weight_norm) / num_examples
