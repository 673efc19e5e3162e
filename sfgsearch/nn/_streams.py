"""Streams: what flows towards each group of the next layer.

Between two layers a network with T tasks carries T+1 tensors (x_1 .. x_T, x_shared). Streams that are equal by
construction, as all are at the image, are the same tensor object, and layers compute them once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Streams = tuple[Tensor | None, ...]
"""T+1 tensors of shape (batch, channels, *space): one per task in order, then shared; None for an empty stream."""


def distinct(streams: Streams) -> tuple[list[Tensor], list[int | None]]:
    """Return the different tensors among the streams, and for every stream its index among them (None if empty)."""
    tensors: list[Tensor] = []
    positions: list[int | None] = []
    for stream in streams:
        known = next((index for index, tensor in enumerate(tensors) if tensor is stream), None)
        if stream is not None and known is None:
            known = len(tensors)
            tensors.append(stream)
        positions.append(known)
    return tensors, positions


def map_streams(function: Callable[[Tensor], Tensor], streams: Streams) -> Streams:
    """Apply a function to every stream, once for streams that are the same tensor."""
    tensors, positions = distinct(streams)
    results = [function(tensor) for tensor in tensors]
    return tuple(None if position is None else results[position] for position in positions)


def apply_stacked(function: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Apply a function that treats images by themselves to several tensors at once, stacked along the batch.

    Args:
        function: Maps (B, ...) to (B, ...).
        tensors: At least one, all of one shape (B, C, *space).
    """
    if len(tensors) == 1:
        return [function(tensors[0])]
    results = function(torch.cat(list(tensors)))
    # Not chunk: ONNX cannot split a batch of unknown size.
    return results.reshape(len(tensors), tensors[0].shape[0], *results.shape[1:]).unbind()


def as_streams(inputs: Tensor | Sequence[Tensor | None], num_tasks: int) -> Streams:
    """Return T+1 streams from streams or from one image that all groups read.

    Raises:
        ValueError: If the number of streams is not T+1.
    """
    if isinstance(inputs, Tensor):
        return (inputs,) * (num_tasks + 1)
    if len(inputs) != num_tasks + 1:
        raise ValueError(f"a layer of {num_tasks} tasks reads {num_tasks + 1} streams, got {len(inputs)}")
    return tuple(inputs)


class EachStream(nn.Module):
    """Apply a module without channel parameters (pooling, dropout, padding) to every stream."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, streams: Streams) -> Streams:
        """Return the streams, each passed through the module."""
        return map_streams(self.module, streams)
