"""The learned categorical over groups of every filter in a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfgsearch.functional import categorical_entropy, categorical_kl, gumbel_softmax, simplex, uniform_prior
from sfgsearch.graph import hard_gates

_OFF = 0.1
"""The prior probability of being off."""


@dataclass
class GateSampling:
    """How gates are drawn in training; the layers of one network share one object.

    Args:
        temperature: tau of the Gumbel-Softmax relaxation.
        hard: One-hot forward and relaxed gradient (straight-through) instead of relaxed in both.
        generator: Source of randomness, on the device of the network; torch's default if None.
    """

    temperature: float = 1.0
    hard: bool = False
    generator: torch.Generator | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> GateSampling:
        """Copy the settings and share the generator, which torch cannot copy."""
        return GateSampling(self.temperature, self.hard, self.generator)


class FilterGroups(nn.Module):
    r"""Probabilities with which each filter of a layer serves each group.

    Filter k has :math:`p_k = \mathrm{softmax}(\text{logits}_k)` over the T tasks in order, then shared.

    Args:
        num_filters: K.
        num_tasks: T >= 1.
        prior: A point of the simplex, shape (T+1,); uniform if None.
        initial: Probabilities to start from, shape (T+1,) or (K, T+1); the prior if None.
        learn: Whether the probabilities are parameters; otherwise they stay what they are.
        learn_prior: Whether the prior is a parameter too (empirical Bayes).
        sampling: How :meth:`forward` draws gates; an object of its own if None.
        off: Whether filters may also be off, in no group, with a column of logits after shared: its prior and initial
            probability is a tenth, of which all groups are relieved alike.
        sizes: Filters of consecutive layers, where the table is for several ones with a prior each, of shape
            (layers, T+1).

    Raises:
        ValueError: If a number is not positive, a prior or initial value is off the simplex, or sizes do not sum to K.
    """

    logits: Tensor
    prior_logits: Tensor

    def __init__(
        self,
        num_filters: int,
        num_tasks: int,
        prior: Sequence[float] | Tensor | None = None,
        *,
        initial: Tensor | None = None,
        learn: bool = True,
        learn_prior: bool = False,
        sampling: GateSampling | None = None,
        off: bool = False,
        sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if num_filters < 1 or num_tasks < 1:
            raise ValueError(f"num_filters and num_tasks must be at least 1, got {num_filters} and {num_tasks}")
        self.num_filters, self.num_tasks = num_filters, num_tasks
        self.sampling = sampling or GateSampling()
        self._fixed: Tensor | None = None
        self._gates: Tensor | None = None
        self._sizes = None if sizes is None else tuple(sizes)
        if self._sizes is not None and sum(self._sizes) != num_filters:
            raise ValueError(f"sizes must sum to {num_filters} filters, got {sum(self._sizes)}")
        centre = self._centre(prior)
        start = self._per_filter(centre) if initial is None else torch.as_tensor(initial, dtype=torch.float64)
        shape = (num_filters, num_tasks + 1)
        if start.shape not in (shape, shape[1:]) or bool((start < 0).any()):
            raise ValueError(f"initial must be probabilities of shape {shape} or {shape[1:]}, got {tuple(start.shape)}")
        if not torch.allclose(start.sum(-1), torch.ones((), dtype=torch.float64), atol=1e-4):
            raise ValueError("initial probabilities must sum to one for every filter")
        self.off = off
        self._register("logits", self._with_off(start.expand(shape)), learn)
        self._register("prior_logits", self._with_off(centre), learn_prior)

    def _centre(self, prior: Sequence[float] | Tensor | None) -> Tensor:
        """Return the prior, or the prior of every layer, float64."""
        if prior is None:
            prior = uniform_prior(self.num_tasks)
            return prior if self._sizes is None else prior.expand(len(self._sizes), -1)
        if self._sizes is None:
            return simplex(prior, self.num_tasks + 1, "prior")
        if len(prior) != len(self._sizes):
            raise ValueError(f"prior must have a row for each of {len(self._sizes)} layers, got {len(prior)}")
        return torch.stack([simplex(row, self.num_tasks + 1, "prior") for row in prior])  # type: ignore[arg-type]

    def _with_off(self, probs: Tensor) -> Tensor:
        """Return probabilities with a column for being off, if filters may be."""
        if not self.off:
            return probs
        return torch.cat([(1 - _OFF) * probs, torch.full_like(probs[..., :1], _OFF)], -1)

    def _per_filter(self, per_layer: Tensor) -> Tensor:
        """Return rows of layers as rows of filters, or the only row as it is."""
        if self._sizes is None:
            return per_layer
        return per_layer.repeat_interleave(torch.tensor(self._sizes, device=per_layer.device), 0)

    def _register(self, name: str, probs: Tensor, learn: bool) -> None:
        dtype = torch.get_default_dtype()
        logits = probs.clamp_min(torch.finfo(dtype).tiny).log().to(dtype).clone()
        if learn:
            self.register_parameter(name, nn.Parameter(logits))
        else:
            self.register_buffer(name, logits)

    @property
    def log_probs(self) -> Tensor:
        """Log probabilities in nats, shape (K, T+1)."""
        return self.logits.log_softmax(-1)[:, : self.num_tasks + 1]

    @property
    def probs(self) -> Tensor:
        """Probabilities, shape (K, T+1): tasks in order, then shared."""
        return self.choice_probs[:, : self.num_tasks + 1]

    @property
    def choice_probs(self) -> Tensor:
        """Probabilities with that of being off, if filters may be, in a last column: shape (K, T+1) or (K, T+2)."""
        return self.logits.softmax(-1)

    @property
    def log_prior(self) -> Tensor:
        """Log prior in nats, shape (T+1,), or (layers, T+1) where there are several; being off has a last column."""
        return self.prior_logits.log_softmax(-1)

    def sample(self, temperature: float, hard: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Draw one gate per filter and group, shape (K, T+1); see :func:`~sfgsearch.functional.gumbel_softmax`.

        The gates of a filter sum to one less the part in which it is off.

        Raises:
            ValueError: If the temperature is not positive.
        """
        gates = gumbel_softmax(self.logits.log_softmax(-1), temperature, hard, generator)
        return gates[:, : self.num_tasks + 1]

    def kl(self) -> Tensor:
        """Return KL(Cat(p_k) || Cat(prior)) summed over filters, a scalar in nats.

        While gates stand still it has no gradient: it would pull the most probable groups away from those in training.
        """
        divergence = categorical_kl(self.logits.log_softmax(-1), self._per_filter(self.log_prior)).sum()
        return divergence.detach() if self.is_fixed else divergence

    def entropy(self) -> Tensor:
        """Return the entropy of every filter in nats, shape (K,)."""
        return categorical_entropy(self.logits.log_softmax(-1))

    def assignment(self) -> Tensor:
        """Return the most probable group of every filter, int64 of shape (K,); T+1 where that is to be off."""
        return self.logits.argmax(-1)

    def fix(self, assignment: Tensor | None) -> None:
        """Make :meth:`forward` return the one-hot gates of an assignment until this is called with None.

        Args:
            assignment: Group of every filter, int64 of shape (K,), or None.

        Raises:
            ValueError: If the shape or a group index is off.
        """
        if assignment is not None:
            groups = torch.as_tensor(assignment, dtype=torch.int64)
            if groups.shape != (self.num_filters,) or not bool(
                ((groups >= 0) & (groups <= self.num_tasks + self.off)).all()
            ):
                raise ValueError(
                    f"an assignment must give each of {self.num_filters} filters a group 0..{self.num_tasks}"
                )
            assignment = groups
        self._fixed = assignment

    @property
    def is_fixed(self) -> bool:
        """Whether gates stand still, since :meth:`fix` was called."""
        return self._fixed is not None

    @property
    def gates(self) -> Tensor:
        """The gates that :meth:`forward` returned last, shape (K, T+1).

        Raises:
            RuntimeError: If there was no pass yet.
        """
        if self._gates is None:
            raise RuntimeError("the layer of these filter groups has not been run yet; its gates are drawn in a pass")
        return self._gates

    def forward(self) -> Tensor:
        """Return the gates of this pass, shape (K, T+1).

        Fixed gates if :meth:`fix` was called; else in training a fresh sample as ``sampling`` says, and in
        evaluation the one-hot gates of the most probable assignment.
        """
        self._gates = self._draw()
        return self._gates

    def _draw(self) -> Tensor:
        if self._fixed is None and self.training:
            return self.sample(self.sampling.temperature, self.sampling.hard, self.sampling.generator)
        groups = self.assignment() if self._fixed is None else self._fixed.to(self.logits.device)
        return hard_gates(groups, self.num_tasks).to(self.logits.dtype)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the gates of the last pass, which belong to a graph and cannot be copied."""
        return {**self.__dict__, "_gates": None}

    def extra_repr(self) -> str:
        """Describe the layer in ``print(network)``."""
        return f"num_filters={self.num_filters}, num_tasks={self.num_tasks}"
