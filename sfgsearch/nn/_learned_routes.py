"""Learned routing: every task learns which filters it uses."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sfgsearch.functional import gumbel_softmax
from sfgsearch.graph import Analysis
from sfgsearch.nn._groups import GateSampling
from sfgsearch.nn._network import MultiTaskNetwork
from sfgsearch.nn._routed import RoutedNetwork


class LearnedRouting(RoutedNetwork):
    r"""Runs a plain network once per task, each time with the filters that the task draws.

    .. math:: y_t = f_t(x;\, W \odot M_t), \qquad m_{tk} \sim \mathrm{Bernoulli}(p_{tk}), \qquad
        p_{tk} = \mathrm{sigmoid}(\text{logits}_{tk})

    anew at every pass in training, with the gradient of the relaxed draw (straight-through): the Gumbel-softmax of
    :math:`(\log p, \log(1 - p))`. (Maziarz et al., 2019, whose components are layers or blocks of filters; here they
    are filters.) In evaluation, and once routing has settled, masks are the most probable ones.

    Args:
        network: The plain network.
        analysis: Its analysis.
        initial: The initial probability p, above 0 and below 1.
        sampling: How draws are made; its ``hard`` is not asked. An object of its own if None.

    Attributes:
        settled: Whether training, too, takes the most probable masks instead of drawing.

    Raises:
        ValueError: If the initial probability is out of range.
    """

    def __init__(
        self, network: MultiTaskNetwork, analysis: Analysis, initial: float = 0.5, sampling: GateSampling | None = None
    ) -> None:
        if not 0 < initial < 1:
            raise ValueError(f"initial must be above 0 and below 1, got {initial}")
        shape = analysis.num_tasks, analysis.num_filters
        super().__init__(network, analysis, _by_space(analysis, torch.ones(shape, dtype=torch.bool)))
        self.sampling, self.settled = sampling or GateSampling(), False
        self.logits = nn.Parameter(torch.full(shape, initial).logit())

    @property
    def probs(self) -> Tensor:
        """Probabilities p, shape (T, F)."""
        return self.logits.sigmoid()

    def current_masks(self) -> Tensor:
        """Draw the masks of this pass, shape (T, F); the most probable ones in evaluation and once settled."""
        if self.settled or not self.training:
            return self.likely_masks().to(self.logits.dtype)
        log_probs = nn.functional.logsigmoid(torch.stack([self.logits, -self.logits], -1))
        return gumbel_softmax(log_probs, self.sampling.temperature, hard=True, generator=self.sampling.generator)[
            ..., 0
        ]

    @torch.no_grad()
    def likely_masks(self) -> Tensor:
        """Return the most probable masks, bool of shape (T, F).

        A task that would hold no filter of a channel space holds those that are the most probable there.
        """
        masks = []
        for logits in torch.split(self.logits, list(self.analysis.filters.values()), 1):
            mask = logits >= 0
            masks.append(torch.where(mask.any(1, keepdim=True), mask, logits >= logits.amax(1, keepdim=True)))
        return torch.cat(masks, 1)

    def masks_by_space(self) -> dict[str, Tensor]:
        """Return the most probable masks by channel space, bool of shape (T, K), on the CPU."""
        return _by_space(self.analysis, self.likely_masks().cpu())

    @torch.no_grad()
    def route(self) -> RoutedNetwork:
        """Return the network of the most probable masks, with copies of this network's weights and statistics."""
        device = self.logits.device
        routed = RoutedNetwork(copy.deepcopy(self.network), self.analysis, self.masks_by_space()).to(device)
        routed.norms.load_state_dict(self.norms.state_dict())
        return routed.train(self.training)


def _by_space(analysis: Analysis, masks: Tensor) -> dict[str, Tensor]:
    """Return masks (T, F) by channel space."""
    return dict(zip(analysis.filters, torch.split(masks, list(analysis.filters.values()), 1), strict=True))
