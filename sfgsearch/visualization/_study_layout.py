"""The common look of plotly figures of whole studies.

Figures carry their look themselves, in few words: no template, since a study's database keeps them for the dashboard.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from sfgsearch.visualization.data._scales import log_ticks, tick_text

INK, FAINT = "#333333", "#e4e4e4"
_TITLE_HEIGHT, _LEGEND_HEIGHT, _FOOT_HEIGHT, _RIGHT = 36, 22, 50, 24
_ENTRY_HEIGHT, _ENTRY_MARK, _LETTER = 19, 46, 6.6
_WIDEST_LABEL, _LABEL_MARGIN, _SMALL = 230, 18, 0.01

_FONT = {"family": "Helvetica, Arial, 'Liberation Sans', sans-serif", "size": 12, "color": INK}


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


def plain(text: str) -> str:
    """Return a text as plotly shows it literally; it would take tags for a style and links."""
    return html.escape(text, quote=False)


def rounded(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Return numbers in few digits, as a list and not as an array, which the dashboard's plotly cannot always read.

    What is not finite is left out.
    """
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


class Frame:
    """What is around the panels of a figure: title, legend and margins.

    Args:
        title: The figure's title, not yet escaped.
        size: Where it is shown.
        legend: What stands in the legend, for the lines that it may need.
        left: The left margin, in pixels.
        top: Room for titles of panels, in pixels.
    """

    def __init__(
        self, title: str, size: FigureSize, *, legend: Iterable[str] = (), left: int = 60, top: int = 0
    ) -> None:
        self.title, self.size, self._left = title, size, left
        self._above = _TITLE_HEIGHT + _LEGEND_HEIGHT * _legend_lines(legend, self.width) + top

    @property
    def width(self) -> int:
        """Pixels between the margins, at least."""
        return self.size.width - self._left - _RIGHT

    def inner(self, wanted: float) -> float:
        """Return the height that there is for panels, in pixels, where they would take the wanted one."""
        return wanted if self.size.height is None else max(self.size.height - self._above - _FOOT_HEIGHT, 60)

    def around(self, figure: go.Figure, wanted: float) -> go.Figure:
        """Put the frame around a figure whose panels would take the wanted height."""
        height = round(self.inner(wanted) + self._above + _FOOT_HEIGHT)
        return figure.update_layout(
            template="none",
            title={"text": plain(self.title), "x": 0, "xref": "container", "xanchor": "left", "y": 1}
            | {"yref": "container", "yanchor": "top", "pad": {"l": 12, "t": 12}, "font": {"size": 15}},
            font=_FONT,
            height=height,
            margin={"l": self._left, "r": _RIGHT, "t": self._above, "b": _FOOT_HEIGHT},
            paper_bgcolor="white",
            plot_bgcolor="white",
            hoverlabel={"align": "left"},
            legend={"orientation": "h", "x": 0, "xref": "container", "xanchor": "left", "yref": "container"}
            | {"y": 1 - _TITLE_HEIGHT / height, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"}
            | {"tracegroupgap": _LEGEND_HEIGHT - _ENTRY_HEIGHT},
        )


def _legend_lines(labels: Iterable[str], width: int) -> int:
    """Return how many lines plotly breaks a horizontal legend into, which it makes no wider than the panels.

    Entries follow each other like words where every one is a legend group of its own, as in all of our figures.
    """
    lines, end = 0, math.inf
    for label in labels:
        needed = _ENTRY_MARK + _LETTER * len(label)
        lines, end = (lines, end + needed) if end + needed <= width else (lines + 1, needed)
    return lines


def axis(title: str = "", **options: Any) -> dict[str, Any]:
    """Return an axis with a thin grid and without the line at zero."""
    return {
        "title": {"text": plain(title), "font": {"size": 12}, "standoff": 6},
        "gridcolor": FAINT,
        "zeroline": False,
        "linecolor": "#999999",
        "ticks": "outside",
        "tickcolor": "#999999",
        "ticklen": 4,
        **options,
    }


def scale(values: Iterable[float], is_log: bool, length: float = math.inf) -> dict[str, Any]:
    """Return what makes an axis over some values linear, or logarithmic with a few round numbers.

    Args:
        values: What is drawn.
        is_log: Whether it is logarithmic.
        length: Pixels of a horizontal axis, where that is short.
    """
    if not is_log:
        known = [abs(value) for value in values if math.isfinite(value)]
        small = {"exponentformat": "e"} if 0 < max(known, default=0.0) < _SMALL else {}  # not 20µ
        return {"type": "linear", "nticks": 6, **small}
    ticks = log_ticks(values, length)
    return {"type": "log", "tickvals": ticks, "ticktext": [tick_text(tick) for tick in ticks], "tickangle": 0}


def empty(title: str, text: str, size: FigureSize) -> go.Figure:
    """Return a figure that says why there is nothing in it."""
    figure = Frame(title, size).around(go.Figure(), 160)
    return figure.add_annotation(
        text=plain(text), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 13, "color": "#666"}
    ).update_layout(xaxis_visible=False, yaxis_visible=False)


def label_width(names: Iterable[str]) -> int:
    """Return the width of a left margin that holds names, in pixels, as far as these are counted in letters."""
    return min(_LABEL_MARGIN + round(_LETTER * max(map(len, names), default=0)), _WIDEST_LABEL)
