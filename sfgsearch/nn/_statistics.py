"""Re-estimation of batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of all batch norms by averages over batches of images.

    Training with sampled gates leaves running statistics that fit no single assignment. The averages weigh every
    batch equally. Networks without batch norm stay as they are, and no batch is read for them.

    Args:
        network: The network; the modes of its modules are restored.
        batches: Images of shape (B, C, *space) on the network's device, at least one batch.

    Raises:
        ValueError: If there is no batch.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
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
