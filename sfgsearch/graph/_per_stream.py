"""Parts of a network that every stream has of its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, fx, nn


class PerStream(nn.Module):
    """A part of a network that every stream has a copy of, and in which all channels of a stream mix.

    It reads what a stream carries and gives the stream other features, of which nothing is any filter's: the layers
    above read them whole. Ordinary residual blocks between allocated convolutions are such a part (Bragman et al., ICCV
    2019). The network then runs in the streams' execution alone; in the plain network the part runs once.

    Args:
        part: Maps features (B, K, *space) to features (B, K', *space).
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """Return what the part returns."""
        features: Tensor = self.part(x)
        return features


@dataclass(frozen=True)
class StreamPart:
    """Where a network's graph runs a part that every stream has of its own.

    Args:
        path: Path of the :class:`PerStream`.
        source: The operation whose value it reads.
        reads: Rows of the table of gates that it reads, int64 of shape (K,).
    """

    path: str
    source: fx.Node
    reads: Tensor
