"""What torch calls a layer in 2 and in 3 dimensions of space."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
"""Convolutions by the number of spatial dimensions."""
