"""Where the parts of a figure are, in pixels; widths of texts are told by their letters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LETTER, BOLD_LETTER = 6.6, 8.0
"""Pixels of a letter, on average and at most, in the fonts and sizes of either library."""

LINE = 15
"""Pixels from one line of a panel's heading to the next."""

TITLE_HEIGHT, LEGEND_HEIGHT, NOTE_HEIGHT = 36, 22, 22
LONGEST_NAME = 28
"""Letters of a name that there is room for."""

_ENTRY_MARK, _MARGIN, _WIDEST_LABEL = 46, 24, 230


class Rect(NamedTuple):
    """A rectangle: its upper left corner, counted downwards, and its extent."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class FigureSize:
    """Where a figure is shown.

    Args:
        width: Pixels that it may at least count on.
        height: Its height in pixels; None for as much as it needs.
    """

    width: int
    height: int | None = None

    @property
    def is_tight(self) -> bool:
        """Whether words must be saved."""
        return self.height is not None


PAGE = FigureSize(880)
"""A page of its own, or a notebook."""

CARD = FigureSize(560, 450)
"""A card of the dashboard, which is that high whatever is in it."""


@dataclass(frozen=True)
class Frame:
    """The room around the panels of a figure, and between them.

    Args:
        size: Where the figure is shown.
        legend: What stands in its legend.
        has_note: Whether it has a note.
        left: Pixels on the left of all panels.
        right: On their right.
        top: Above each row of panels, for headings.
        foot: Below each row of panels, for ticks and titles.
        gap: Between panels of a row.
    """

    size: FigureSize
    legend: tuple[str, ...] = ()
    has_note: bool = False
    left: float = 62
    right: float = _MARGIN
    top: float = 14
    foot: float = 50
    gap: float = 30

    def width(self, columns: int) -> float:
        """Return the width of a panel, in pixels."""
        return (self.size.width - self.left - self.right + self.gap) / columns - self.gap

    def heights(self, wanted: Sequence[float]) -> list[float]:
        """Return the heights of rows that would like to have the wanted ones, in pixels."""
        if self.size.height is None:
            return list(wanted)
        head = head_height(self.legend, self.width(1), has_note=self.has_note)
        there = self.size.height - head - len(wanted) * (self.top + self.foot)
        return [height * max(there, 60) / sum(wanted) for height in wanted]

    def rects(self, columns: int, wanted: Sequence[float]) -> list[Rect]:
        """Return the rectangles of panels row by row, whose rows would like to have the wanted heights."""
        width, top, found = self.width(columns), 0.0, []
        for height in self.heights(wanted):
            lefts = (self.left + column * (width + self.gap) for column in range(columns))
            found += [Rect(left, top + self.top, width, height) for left in lefts]
            top += self.top + height + self.foot
        return found

    def height(self, wanted: Sequence[float]) -> float:
        """Return the height of all rows together, with what is around them."""
        return sum(self.heights(wanted)) + len(wanted) * (self.top + self.foot)


def legend_rows(names: Iterable[str], width: float) -> list[list[str]]:
    """Return the entries of a legend line by line, which follow each other like words."""
    rows, end = list[list[str]](), math.inf
    for name in names:
        needed = _ENTRY_MARK + LETTER * min(len(name), LONGEST_NAME)
        if end + needed > width:
            rows.append([])
            end = 0.0
        rows[-1].append(name)
        end += needed
    return rows


def head_height(names: Iterable[str], width: float, *, has_note: bool = False) -> int:
    """Return the height of title, legend and note."""
    return TITLE_HEIGHT + LEGEND_HEIGHT * len(legend_rows(names, width)) + NOTE_HEIGHT * has_note


def label_width(names: Iterable[str]) -> int:
    """Return the width of a left margin that holds names, in pixels."""
    return min(22 + round(LETTER * min(max(map(len, names), default=0), LONGEST_NAME)), _WIDEST_LABEL)


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text, cut where it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
