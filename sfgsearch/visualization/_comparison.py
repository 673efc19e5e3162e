"""Finalists side by side, drawn with plotly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.comparison import Comparison
from sfgsearch.visualization._study_layout import (
    PAGE,
    FigureSize,
    Frame,
    axis,
    empty,
    label_width,
    plain,
    rounded,
)
from sfgsearch.visualization._study_marks import MARKS, heading, mark, shortened
from sfgsearch.visualization.data._comparison import (
    MetricPanel,
    MetricPoint,
    comparison_panels,
    panel_titles,
    which_finalists,
)

COLUMNS = 3
_ROW, _GAP, _TIGHT_GAP = 24, 90, 66
_SPACING, _BOLD_LETTER = 0.05, 6.9
"""Between panels, as a part of all; pixels."""

_LONG_NAME, _SHORT_NAME = 32, 22
"""Letters of a name that there is room for on a page and on a card."""


def plot_comparison(
    comparison: Comparison, *, metrics: Sequence[str] | None = None, size: FigureSize = PAGE
) -> go.Figure:
    """Plot finalists against each other: the relative error and the tasks' main metrics, with 95 % intervals.

    Learned finalists have up to three marks: filled, their allocation retrained from scratch, which is what kinds are
    compared by; hollow, the derived network as it was learned; dotted, its Monte-Carlo prediction.

    Args:
        comparison: What :func:`sfgsearch.comparison.compare` returns.
        metrics: Keys ``"<task>/<metric>"`` to show instead of the main ones.
        size: Where it is shown.

    Returns:
        A plotly figure with one panel per metric.
    """
    what = which_finalists(comparison)
    what += "" if size.is_tight else ", mean and 95 % interval over seeds"
    title = heading(comparison.study, what)
    panels = comparison_panels(comparison, metrics)
    if not panels:
        return empty(title, "No finalist yet", size)
    names = [point.name for point in panels[0].points]
    labels = [shortened(name, _SHORT_NAME if size.is_tight else _LONG_NAME) for name in names]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    legend = [mark(*pair).label for pair in _used(panels[0].points)]
    frame = Frame(title, size, legend=legend, left=label_width(labels), top=40)
    gap = _TIGHT_GAP if size.is_tight else _GAP
    wanted = rows * (_ROW * len(names) + 16) + (rows - 1) * gap
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=_panel_titles(panels, frame.width * (1 + _SPACING) / columns),
        horizontal_spacing=_SPACING,
        vertical_spacing=gap / frame.inner(wanted) if rows > 1 else 0,
    )
    per_row = ((frame.inner(wanted) - (rows - 1) * gap) / rows) / len(names)
    marker = min(max(math.floor(per_row) - 2, 5), 10)
    for index, panel in enumerate(panels):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        _draw(figure, panel, names, marker, place, is_first=index == 0)
        ticks = [plain(label) for label in labels] if place["col"] == 1 else [""] * len(labels)
        span = [len(names) - 0.4, -0.6]
        figure.update_yaxes(axis(tickvals=list(range(len(names))), ticktext=ticks, range=span), **place)
    figure.update_yaxes(tickfont_size=min(max(math.floor(per_row) - 1, 7), 12))
    figure.update_annotations(font_size=12)
    return frame.around(figure, wanted)


def _panel_titles(panels: Sequence[MetricPanel], room: float) -> list[str]:
    """Return two lines each, the first in bold, for panels that are so many pixels apart."""
    titles = panel_titles(panels, int(room // _BOLD_LETTER))
    return [f"<b>{plain(first)}</b><br>{plain(second)}" for first, second in titles]


def _used(points: Sequence[MetricPoint]) -> list[tuple[str, str]]:
    present = {(point.kind, point.inference) for point in points}
    return [pair for pair in MARKS if pair in present]


def _draw(
    figure: go.Figure,
    panel: MetricPanel,
    names: list[str],
    marker: int,
    place: Mapping[str, int],
    *,
    is_first: bool,
) -> None:
    for pair in _used(panel.points):
        points = [point for point in panel.points if (point.kind, point.inference) == pair]
        style = mark(*pair)
        figure.add_scatter(
            x=rounded(point.mean for point in points),
            y=[names.index(point.name) for point in points],
            error_x={"type": "data", "array": rounded(point.high - point.mean for point in points)}
            | {"color": style.colour, "thickness": 1.5, "width": min(marker // 2, 4)},
            mode="markers",
            marker={"color": style.colour, "symbol": style.symbol, "size": marker, "line": {"width": 1.5}},
            name=style.label,
            legendgroup=style.label,
            showlegend=is_first,
            text=[f"{plain(p.name)}, {p.seeds} seeds<br>{plain(p.written(panel.unit))}" for p in points],
            hovertemplate="%{text}<extra></extra>",
            **place,
        )
    figure.update_xaxes(axis(nticks=5, tickangle=0), **place)
