"""Small panels for all layers in one pair of axes in pixels, which both drawing libraries place alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

_COLUMNS = ((3, 3), (4, 4), (6, 3), (8, 4), (15, 5))
_MOST_COLUMNS = 6
_GAP, _WIDEST = 34.0, 200.0

CAPTION = 53.0
"""Pixels between a panel and the one above it, or the upper end of all."""


@dataclass(frozen=True)
class Lattice:
    """Panels row by row from the top; coordinates are pixels from the lower left corner of all, upwards.

    Args:
        panels: How many, at least one.
        width: Pixels for all columns together.
        proportion: Height of a panel over its width.
    """

    panels: int
    width: float
    proportion: float

    @property
    def columns(self) -> int:
        """Panels in a row."""
        columns = next((columns for most, columns in _COLUMNS if self.panels <= most), _MOST_COLUMNS)
        return min(columns, self.panels)

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return math.ceil(self.panels / self.columns)

    @property
    def side(self) -> float:
        """Width of a panel."""
        return min((self.width + _GAP) / self.columns - _GAP, _WIDEST)

    @property
    def height(self) -> float:
        """Height of all panels and their captions together."""
        return self.rows * (self.proportion * self.side + CAPTION)

    def corner(self, panel: int) -> tuple[float, float]:
        """Return the lower left corner of a panel, counted from zero."""
        row, column = divmod(panel, self.columns)
        pitch = self.proportion * self.side + CAPTION
        return column * max(self.side + _GAP, self._spread), (self.rows - 1 - row) * pitch

    @property
    def _spread(self) -> float:
        """Distance of columns that fill the width where panels do not."""
        return min((self.width + _GAP) / self.columns, 1.35 * _WIDEST)

    def caption(self, panel: int) -> tuple[float, float]:
        """Return the place above the middle of a panel where its caption stands."""
        x, y = self.corner(panel)
        return x + self.side / 2, y + self.proportion * self.side + 15
