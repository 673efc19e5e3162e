"""A backbone of one's own: any module that turns images into features."""

import torch
from torch import Tensor, nn

from sfgsearch.backbones import backbones


class Residual(nn.Module):
    """Add what two convolutions compute to their input."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(filters, filters, 3, padding=1), nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the shape of ``x``."""
        return torch.relu(x + self.conv2(torch.relu(self.norm(self.conv1(x)))))


@backbones.register("small_residual")
def small_residual(image_shape: tuple[int, ...], *, width: float = 1.0) -> nn.Module:
    """Return the network; comparisons change ``width`` to match multiply-adds."""
    filters = round(16 * width)
    stem = nn.Conv2d(image_shape[0], filters, 3, padding=1)
    return nn.Sequential(stem, nn.ReLU(), Residual(filters), nn.Conv2d(filters, 2 * filters, 3, stride=2))
