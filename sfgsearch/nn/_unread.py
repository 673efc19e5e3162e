"""Finding what no head reads."""

from __future__ import annotations

import copy

import torch
from torch import nn


@torch.enable_grad()
def unread_parameters(network: nn.Module, image_shape: tuple[int, ...]) -> set[str]:
    """Return the names of the parameters that no prediction depends on, without computing anything.

    Args:
        network: Maps images of shape (1, C, *space) to predictions by task name.
        image_shape: (C, *space).
    """
    weightless = copy.deepcopy(network).to("meta").eval()
    parameters = dict(weightless.named_parameters())
    predictions = weightless(torch.empty(1, *image_shape, device="meta"))
    total = torch.stack([prediction.sum() for prediction in predictions.values()]).sum()
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
