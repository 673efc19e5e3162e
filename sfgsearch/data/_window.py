"""Prediction of large images by a window that slides over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from sfgsearch.errors import DataError

Network = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class SlidingWindow:
    """Prediction of images larger than those a network is trained on: window by window, then blended.

    A thin wrapper around MONAI's inferer (extra ``volumes``), for networks whose predictions have the images' space.
    An image smaller than the window is padded with its border, and its predictions are cropped.

    Args:
        size: Space of a window, that of the training images.
        overlap: Share of a window that its neighbour covers too, at least 0 and below 1.
        blending: How predictions of overlapping windows are averaged: ``"gaussian"`` trusts a window's middle more
            than its border, ``"constant"`` trusts all of it.
        windows_per_pass: Windows that pass through the network at once.

    Raises:
        DataError: If a value is out of range.
    """

    size: tuple[int, ...]
    overlap: float = 0.25
    blending: Literal["gaussian", "constant"] = "gaussian"
    windows_per_pass: int = 4

    def __post_init__(self) -> None:
        if not self.size or min(self.size) < 1 or self.windows_per_pass < 1:
            raise DataError(f"a window needs a positive size and windows_per_pass, got {self}")
        if not 0 <= self.overlap < 1:
            raise DataError(f"the overlap of windows must be at least 0 and below 1, got {self.overlap}")
        if self.blending not in ("gaussian", "constant"):
            raise DataError(f"blending must be 'gaussian' or 'constant', got {self.blending!r}")

    def predict(self, network: Network, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space).

        Args:
            network: Maps images of the window's size to predictions (B, *size) or (B, numbers, *size) by task name.
            images: Images of any size.

        Raises:
            DataError: If the images have other dimensions than the window, or MONAI is not installed.
        """
        if images.ndim - 2 != len(self.size):
            raise DataError(f"a window of {len(self.size)} dimensions cannot slide over {images.ndim - 2}")
        if tuple(images.shape[2:]) == self.size:
            return dict(network(images))
        try:
            from monai.inferers.utils import sliding_window_inference
        except ImportError as error:
            raise DataError("windows slide with MONAI: pip install 'sfgsearch[volumes]'") from error
        flat: set[str] = set()

        def with_channels(windows: Tensor) -> dict[str, Tensor]:
            predictions = dict(network(windows))
            flat.update(name for name, prediction in predictions.items() if prediction.ndim < windows.ndim)
            return {name: value.unsqueeze(1) if name in flat else value for name, value in predictions.items()}

        blended: Any = sliding_window_inference(
            images,
            self.size,
            self.windows_per_pass,
            with_channels,
            overlap=self.overlap,
            mode=self.blending,
            padding_mode="replicate",
        )
        return {name: value.squeeze(1) if name in flat else value for name, value in blended.items()}

    def over(self, network: nn.Module) -> nn.Module:
        """Return a network that predicts images of any size with one that predicts windows."""
        return _Windowed(network, self)


class _Windowed(nn.Module):
    """A network behind a sliding window."""

    def __init__(self, network: nn.Module, window: SlidingWindow) -> None:
        super().__init__()
        self.network, self.window = network, window

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        return self.window.predict(self.network, images)
