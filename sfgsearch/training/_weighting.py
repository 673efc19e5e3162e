"""How the losses of several tasks become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from sfgsearch._choices import Weighting
from sfgsearch.tasks import Task

_MOMENTUM = 0.05
_LEAST_RESIDUAL = 0.01


class TaskWeighting(nn.Module):
    r"""A weighted sum of task losses, :math:`L = \sum_t w_t L_t`.

    Args:
        weights: :math:`w_t`, one per task.
    """

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the total, a scalar, to which tasks without any target in the batch add nothing.

        Args:
            losses: Shape (T,); of a task without any target 0.
            present: Which tasks have targets in the batch, bool of shape (T,).
        """
        return (self.weights * self.likelihoods(losses, present)).sum()

    def likelihoods(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the negative log likelihood of every task, shape (T,): here the losses as they are."""
        del present
        return losses

    def factors(self) -> Tensor:
        """Return the factor of every task's loss as of now, shape (T,), its weight left out."""
        return torch.ones_like(self.weights)

    @torch.no_grad()
    def current(self) -> list[float]:
        """Return the factor of every task's loss as of now."""
        return [float(factor) for factor in self.weights * self.factors()]


class FittedNoise(TaskWeighting):
    r"""Task losses as likelihoods whose noise is fitted to the residuals of the last batches, in closed form.

    A regression with residuals r has the likelihood

    .. math:: p(r) \propto \tfrac{1}{\sigma} \exp\left( -\frac{|r|^\beta}{\beta \sigma^\beta} \right)

    Gaussian for :math:`\beta = 2` and Laplace for 1, and the loss :math:`L_t = \mathrm{mean} |r|^\beta / \beta`. The
    noise that makes the residuals most likely is :math:`\sigma^\beta = \beta \bar L_t` with the mean loss
    :math:`\bar L_t`, so that the negative log likelihood is, up to a constant,

    .. math:: \frac{L_t}{\beta \bar L_t} + \frac{1}{\beta} \log \beta \bar L_t

    which does not depend on the scale of targets. The losses of other tasks, such as classifications, are likelihoods
    already. :math:`\bar L_t` is a running mean over some twenty batches, through which no gradient flows. The noise is
    never less than a hundredth of the largest one so far: a network that remembers all targets would make it vanish.

    Args:
        weights: :math:`w_t`, one per task.
        powers: :math:`\beta`, or None for tasks without noise.
    """

    powers: Tensor
    mean_losses: Tensor
    largest: Tensor
    updates: Tensor

    def __init__(self, weights: Sequence[float], powers: Sequence[int | None]) -> None:
        super().__init__(weights)
        self.register_buffer("powers", torch.tensor([float(power or 0) for power in powers]), persistent=False)
        for name in ("mean_losses", "largest", "updates"):
            self.register_buffer(name, torch.zeros(len(weights)))

    def likelihoods(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the negative log likelihood of every task, shape (T,), with the noise fitted up to here."""
        self._update(losses.detach(), present)
        constants = torch.where(self._has_noise(present), -self.factors().log() / self.powers.clamp_min(1), 0.0)
        return self.factors() * losses + constants

    def factors(self) -> Tensor:
        r"""Return :math:`1 / \sigma^\beta` of tasks with noise, 1 for the others and before the first batch."""
        least = self.largest * _LEAST_RESIDUAL**self.powers
        fitted = 1 / (self.powers * torch.maximum(self.mean_losses, least))
        return torch.where(self._has_noise(self.largest > 0), fitted, 1.0)

    def _has_noise(self, among: Tensor) -> Tensor:
        return among & (self.powers > 0)

    @torch.no_grad()
    def _update(self, losses: Tensor, present: Tensor) -> None:
        self.updates += present
        rates = present * torch.maximum(1 / self.updates.clamp_min(1), torch.full_like(self.updates, _MOMENTUM))
        self.mean_losses += rates * (losses - self.mean_losses)
        torch.maximum(self.largest, self.mean_losses, out=self.largest)


class LearnedNoise(TaskWeighting):
    r"""Task losses with a noise that is trained with the network (Kendall, Gal & Cipolla, CVPR 2018).

    Every task has a noise :math:`\sigma_t^2 = e^{s_t}`, which starts at one:

    .. math:: L = \sum_t w_t \left( e^{-s_t} L_t + \tfrac{1}{2} s_t \right)

    With :math:`L_t` half a squared error this is the Gaussian likelihood of variance :math:`\sigma_t^2`; for
    classes it is the paper's approximation of a softmax at temperature :math:`\sigma_t^2`.

    Args:
        weights: :math:`w_t`, one per task.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__(weights)
        self.log_variances = nn.Parameter(torch.zeros(len(weights)))

    def likelihoods(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the negative log likelihood of every task, shape (T,)."""
        return self.factors() * losses + present * self.log_variances / 2

    def factors(self) -> Tensor:
        """Return the inverse variances."""
        return (-self.log_variances).exp()


def task_weighting(kind: Weighting, tasks: Sequence[Task]) -> TaskWeighting:
    """Return what makes one loss of those of tasks.

    Raises:
        ValueError: If the kind is unknown.
    """
    weights = [task.weight for task in tasks]
    if kind == "fitted":
        return FittedNoise(weights, [task.residual_power for task in tasks])
    if kind == "uncertainty":
        return LearnedNoise(weights)
    if kind == "fixed":
        return TaskWeighting(weights)
    raise ValueError(f"task_weighting must be one of {', '.join(get_args(Weighting))}, got {kind!r}")
