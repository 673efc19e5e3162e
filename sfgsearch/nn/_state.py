"""The state of a network as plain tensors."""

from __future__ import annotations

from torch import Tensor, nn


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers as safetensors takes them: contiguous, on the CPU, none sharing memory.

    A tensor that a network uses in two places is there under both names, so that any part of it is whole.

    Args:
        network: Any network whose state is made of tensors.
    """
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
