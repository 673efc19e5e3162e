"""The Gumbel-Softmax relaxation of a categorical draw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
