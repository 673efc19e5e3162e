"""How the losses of several tasks become one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TaskWeighting(nn.Module):
    r"""A weighted sum of task losses, its weights fixed or learned from homoscedastic uncertainty.

    Fixed weights give :math:`\sum_t w_t L_t`. Learned ones (Kendall, Gal & Cipolla, CVPR 2018) give every task a
    noise :math:`\sigma_t^2 = e^{s_t}`, which starts at one and is trained with the network:

    .. math:: L = \sum_t w_t \left( e^{-s_t} L_t + \tfrac{1}{2} s_t \right)

    With :math:`L_t` half a squared error this is the Gaussian likelihood of variance :math:`\sigma_t^2`; for
    classes it is the paper's approximation of a softmax at temperature :math:`\sigma_t^2`.

    Args:
        weights: :math:`w_t`, one per task.
        learn: Whether the noise is learned.
    """

    def __init__(self, weights: Sequence[float], *, learn: bool) -> None:
        super().__init__()
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor(weights))
        self.log_variances = nn.Parameter(torch.zeros(len(weights))) if learn else None

    def forward(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the total, a scalar, to which tasks without any target in the batch add nothing.

        Args:
            losses: Shape (T,); of a task without any target 0.
            present: Which tasks have targets in the batch, bool of shape (T,).
        """
        if self.log_variances is None:
            return (self.weights * losses).sum()
        return (self.weights * ((-self.log_variances).exp() * losses + present * self.log_variances / 2)).sum()

    @torch.no_grad()
    def current(self) -> list[float]:
        """Return the factor of every task's loss as of now."""
        factors = self.weights if self.log_variances is None else self.weights * (-self.log_variances).exp()
        return [float(factor) for factor in factors]
