"""Plain multi-task networks: a backbone that all tasks read, and a head for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sfgsearch.errors import BackboneError


class HeadedNetwork(nn.Module):
    """Maps images to one prediction per task, by name.

    Args:
        backbone: Maps images (B, C, *space) to features (B, K, *space) or (B, K), or to several, of which the last
            are read.
        heads: Heads by task name, in task order.
    """

    def __init__(self, backbone: nn.Module, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self.backbone, self.tasks = backbone, tuple(heads)
        self.heads = nn.ModuleList(heads.values())  # by position: a task may be called what a module may not

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions by task name for images of shape (B, C, *space)."""
        features = as_map(self.backbone(images), images.ndim)
        size = images.shape[2:]
        return {task: head(features, size) for task, head in zip(self.tasks, self.heads, strict=True)}


def as_map(features: Any, ndim: int) -> Tensor:
    """Return the features of a backbone as a map (B, K, *space), with space of size one for a vector.

    Args:
        features: What the backbone returned.
        ndim: Dimensions of images.

    Raises:
        BackboneError: If it is neither a map nor a vector, or a sequence of these.
    """
    last = features[-1] if isinstance(features, Sequence) and features else features
    if not isinstance(last, Tensor) or last.ndim not in (2, ndim):
        found = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
        raise BackboneError(
            f"a backbone must return features of {ndim} dimensions (B, channels, *space) or 2 (B, channels), got "
            f"{found}"
        )
    return last[(..., *[None] * (ndim - 2))] if last.ndim == 2 else last
