"""The interface of formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import nn

from sfgsearch.export._verify import Predict


class Format(ABC):
    """A way to write a network; reading it back is part of it, for the verification."""

    def require(self) -> None:
        """Check that the libraries that it needs are there.

        Raises:
            ExportError: If one is missing; it names the extra that brings it.
        """

    def files(self, output: Path) -> tuple[Path, ...]:
        """Return the files that it writes, the output first."""
        return (output,)

    @abstractmethod
    def write(self, network: nn.Module, description: dict[str, Any], output: Path) -> bool | None:
        """Write a network in evaluation mode.

        Args:
            network: The network, on the CPU.
            description: What :func:`sfgsearch.export.describe_network` says of it.
            output: Where to.

        Returns:
            Whether the written network takes images of other sizes than in training; None if it was not tried.

        Raises:
            ExportError: If the format cannot hold it.
        """

    @abstractmethod
    def read(self, output: Path) -> Predict:
        """Return what was written as a function of images."""
