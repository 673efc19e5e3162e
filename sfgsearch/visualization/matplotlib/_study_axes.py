"""The common look of matplotlib figures of whole studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend_handler import HandlerLine2D
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from sfgsearch.visualization._study_marks import mark
from sfgsearch.visualization.data._scales import log_ticks, tick_text

Handle = TypeVar("Handle", Line2D, Patch, Line2D | Patch)

_GRID, _GREY = "#e4e4e4", "#666666"
WIDTH, DOTS = 9.5, 100
"""Inches, and dots in each of them by which the widths of texts are told."""

_SMALL_LETTER, _LEGEND_MARK = 6.4, 44


def literal(text: str) -> str:
    """Return a text as matplotlib shows it literally; it would take dollars for formulas."""
    return text.replace("$", r"\$")


def new_figure(title: str, height: float) -> Figure:
    """Return a figure with a title, which places its parts by itself.

    Args:
        title: The title, not yet escaped.
        height: In inches.
    """
    space = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.05)
    figure = Figure(figsize=(WIDTH, height), layout=space)
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=12)
    return figure


def empty(title: str, text: str) -> Figure:
    """Return a figure that says why there is nothing in it."""
    figure = new_figure(title, 2.0)
    figure.text(0.5, 0.5, literal(text), ha="center", va="center", color=_GREY)
    return figure


def tidy(axes: Axes, *, grid: str = "both") -> None:
    """Draw a thin grid below everything else, and no frame above and to the right."""
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(True, axis=grid, color=_GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def name_rows(axes: Axes, names: Sequence[str], *, has_labels: bool = True) -> None:
    """Put names along the vertical axis, the first on top."""
    labels = [literal(name) for name in names] if has_labels else [""] * len(names)
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)


def scale_axis(axes: Axes, which: str, values: Iterable[float], *, is_log: bool, length: float = math.inf) -> None:
    """Make an axis linear, or logarithmic with a few round numbers.

    Args:
        axes: The axes.
        which: ``"x"`` or ``"y"``.
        values: What is drawn.
        is_log: Whether it is logarithmic.
        length: Dots of a horizontal axis, where that is short.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not is_log:
        axis.set_major_locator(MaxNLocator(5))
        return
    axes.set(**{f"{which}scale": "log"})
    ticks = log_ticks(values, length)
    axis.set_ticks(ticks, [tick_text(tick) for tick in ticks])
    axis.set_minor_locator(NullLocator())


class _DottedLine(Line2D):
    """The legend entry of a marker with a dot in it."""


class _DottedHandler(HandlerLine2D):
    """Draws the marker of a legend entry, and a dot in it."""

    def create_artists(self, legend: Any, orig_handle: Any, *place: Any) -> list[Any]:
        """Return the marker and the dot, as matplotlib asks for them."""
        dot = super().create_artists(legend, orig_handle, *place)[-1]
        dot.set(markersize=0.3 * orig_handle.get_markersize(), markerfacecolor=orig_handle.get_color())
        return [*super().create_artists(legend, orig_handle, *place), dot]


def mark_handle(kind: str, inference: str, size: float = 7) -> Line2D:
    """Return the legend entry of a marker."""
    style = mark(kind, inference)
    make = _DottedLine if style.has_dot else Line2D
    return make(
        [],
        [],
        color=style.colour,
        marker=style.marker,
        markerfacecolor=style.face,
        markersize=size,
        linestyle="none",
        label=style.label,
    )


def group_handles(colours: Mapping[str, str]) -> list[Patch]:
    """Return the legend entries of groups."""
    return [Patch(color=colour, label=literal(group)) for group, colour in colours.items()]


def add_legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Put a legend of few columns below the panels, to be read line by line."""
    columns = legend_columns([str(handle.get_label()) for handle in handles], DOTS * WIDTH)
    figure.legend(
        handles=by_line(handles, columns),
        handler_map={_DottedLine: _DottedHandler()},
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=8,
    )


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Return into how many columns, each as wide as its longest entry, the entries of a legend fit, at least one.

    Args:
        labels: What the entries say.
        width: Dots that there are.
    """

    def needed(columns: int) -> float:
        longest = (max(map(len, labels[column::columns])) for column in range(columns))
        return sum(_LEGEND_MARK + _SMALL_LETTER * letters for letters in longest)

    return next((columns for columns in range(len(labels), 1, -1) if needed(columns) <= width), 1)


def by_line(handles: Sequence[Handle], columns: int) -> list[Handle]:
    """Return entries of a legend, which matplotlib puts into columns one below the other, for reading line by line."""
    return [handle for column in range(columns) for handle in handles[column::columns]]


def label_width(names: Sequence[str]) -> float:
    """Return the dots that names along a vertical axis need."""
    return _SMALL_LETTER * max(map(len, names), default=0)


def draw_points(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    pair: tuple[str, str],
    *,
    half_widths: Sequence[float],
    along: str,
) -> None:
    """Draw finalists with half their intervals.

    Args:
        axes: The axes.
        x: Horizontal coordinates.
        y: Vertical ones.
        pair: Kind and inference.
        half_widths: Half the width of every interval.
        along: The axis that intervals are parallel to, ``"x"`` or ``"y"``.
    """
    style = mark(*pair)
    options: dict[str, Any] = {f"{along}err": half_widths, "markerfacecolor": style.face, "linestyle": "none"}
    axes.errorbar(x, y, color=style.colour, marker=style.marker, markersize=6, capsize=3, elinewidth=1.2, **options)
    if style.has_dot:
        axes.plot(x, y, color=style.colour, marker=".", markersize=3, linestyle="none", zorder=5)
