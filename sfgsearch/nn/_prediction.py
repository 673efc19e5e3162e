"""Prediction: batch-norm statistics, Monte-Carlo ensembles, and the state of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from sfgsearch.graph import BATCH_NORMS


@torch.no_grad()
def reestimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of all batch norms by averages over batches of images.

    Training with sampled gates leaves running statistics that fit no single assignment. The averages weigh every
    batch equally. Batch norms whose scale is frozen keep theirs; where there are no others, no batch is read.

    Args:
        network: The network; the modes of its modules are restored.
        batches: Images of shape (B, C, *space) on the network's device, at least one batch.

    Raises:
        ValueError: If there is no batch.
    """
    norms = [module for module in network.modules() if isinstance(module, BATCH_NORMS) and not _is_frozen(module)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    read = 0
    try:
        for images in batches:
            network(images)
            read += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode
    if not read:
        raise ValueError("statistics cannot be re-estimated without a batch of images")


def _is_frozen(norm: nn.Module) -> bool:
    return isinstance(norm.weight, Tensor) and not norm.weight.requires_grad


class MonteCarloEnsemble(nn.Module):
    r"""Averages the predictive distributions of networks with sampled assignments.

    .. math:: p(y \mid x) \approx \frac{1}{S} \sum_{i=1}^{S} p(y \mid x, z^{(i)}), \qquad z^{(i)} \sim \mathrm{Cat}(p)

    Each member is a compact network with batch-norm statistics of its own assignment; the running statistics of
    the trained network would mix all of them.

    Args:
        members: S networks that map images to predictions by task.
        averages: For every task, what averages its stacked predictions (S, B, ...) to (B, ...).
    """

    def __init__(self, members: Sequence[nn.Module], averages: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._averages = dict(averages)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the averaged predictions by task name for images of shape (B, C, *space)."""
        samples = self.samples(images)
        return {name: average(samples[name]) for name, average in self._averages.items()}

    def samples(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions of all members by task name, shape (S, B, ...)."""
        predictions = [member(images) for member in self.members]
        return {name: torch.stack([prediction[name] for prediction in predictions]) for name in self._averages}


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers as safetensors takes them: contiguous, on the CPU, none sharing memory.

    A tensor that a network uses in two places is there under both names, so that any part of it is whole.
    """
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
