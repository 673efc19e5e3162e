"""What tuning did, drawn with plotly."""

from __future__ import annotations

import textwrap
from typing import Any

import optuna
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.records import Strategy
from sfgsearch.visualization._study_layout import (
    PAGE,
    FigureSize,
    Frame,
    axis,
    empty,
    label_width,
    plain,
    rounded,
    scale,
)
from sfgsearch.visualization._study_marks import Mark, heading, mark, shortened
from sfgsearch.visualization.data._scales import spans_decades
from sfgsearch.visualization.data._tuning import ParameterSlice, Tuning, tuning

COLUMNS = 3
_BAR, _SLICE, _GAP = 20, 150, 62
_SPACING, _LETTER = 0.05, 5.9
"""Between panels, as a part of all; pixels."""


def plot_tuning_importances(
    study: optuna.Study, *, strategy: Strategy = "learned", slices: int | None = None, size: FigureSize = PAGE
) -> go.Figure:
    """Plot what tuning did over the trials of one strategy, such as that of temperature, KL weight and prior.

    On top the importance of every tuned parameter, where there are enough trials to tell; below the relative error
    against each of them.

    Args:
        study: The study, in any storage.
        strategy: Whose trials; shares of filters, or their curve over depth, are what searched ones tune.
        slices: How many parameters to show below, the most important ones; all if None.
        size: Where it is shown.

    Returns:
        A plotly figure.
    """
    found = tuning(study, strategy)
    title = heading(study.study_name, f"what tuning did among {strategy} trials")
    shown = found.slices[:slices]
    if not shown:
        return empty(title, found.remark, size)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    bars = _BAR * len(found.importances) + 10 if found.importances else 8
    frame = Frame(title, size, left=label_width(found.importances or []) + 44, top=14)
    heights = [bars, *[_SLICE] * rows]
    total = sum(heights) + _GAP * rows
    figure = make_subplots(
        rows + 1,
        columns,
        specs=[[{"colspan": columns}, *[None] * (columns - 1)], *[[{}] * columns] * rows],
        row_heights=heights,
        vertical_spacing=_GAP / frame.inner(total),
        horizontal_spacing=_SPACING,
    )
    _draw_importances(figure, found, frame.width)
    errors = [100 * error for one in shown for error in one.errors]
    y_scale = scale(errors, spans_decades(errors))
    width = frame.width * (1 - _SPACING * (columns - 1)) / columns
    for index, one in enumerate(shown):
        _draw_slice(figure, one, index // columns + 2, index % columns + 1, y_scale, width, mark(strategy))
    return frame.around(figure, total)


def _draw_importances(figure: go.Figure, found: Tuning, width: float) -> None:
    if not found.importances:
        figure.add_annotation(
            text=plain(found.remark),
            **{"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "top"},
            showarrow=False,
            font={"size": 13, "color": "#666"},
        )
        figure.update_xaxes(visible=False, row=1, col=1)
        figure.update_yaxes(visible=False, row=1, col=1)
        return
    names = list(found.importances)
    figure.add_bar(
        x=rounded(100 * value for value in found.importances.values()),
        y=list(range(len(names))),
        orientation="h",
        marker={"color": mark(found.strategy).colour},
        text=[plain(name) for name in names],
        textposition="none",
        hovertemplate="%{text}: %{x:.3g} %<extra></extra>",
        showlegend=False,
        row=1,
        col=1,
    )
    lines = textwrap.wrap(f"importance, % ({found.remark})", int(width / _LETTER))
    figure.update_xaxes(axis(rangemode="tozero"), title_text="<br>".join(map(plain, lines)), row=1, col=1)
    ticks: dict[str, Any] = {"tickvals": list(range(len(names))), "ticktext": [plain(name) for name in names]}
    figure.update_yaxes(axis(range=[len(names) - 0.5, -0.5], showgrid=False, ticks="", **ticks), row=1, col=1)


def _draw_slice(
    figure: go.Figure, one: ParameterSlice, row: int, column: int, y_scale: dict[str, Any], width: float, style: Mark
) -> None:
    categories = one.categories
    figure.add_scatter(
        x=[categories.index(value) for value in one.values] if one.is_category else rounded(one.values),
        y=rounded(100 * error for error in one.errors),
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 8, "opacity": 0.6},
        text=[f"trial {number}, {plain(str(value))}" for number, value in zip(one.numbers, one.values, strict=True)],
        hovertemplate="%{text}<br>%{y:.3g} %<extra></extra>",
        showlegend=False,
        row=row,
        col=column,
    )
    if one.is_category:
        letters = max(int(width / len(categories) / _LETTER), 3)
        words = [plain(shortened(word, letters)) for word in categories]
        ticks = {"tickvals": list(range(len(categories))), "ticktext": words, "tickangle": 0}
        x = axis(one.name, range=[-0.5, len(categories) - 0.5], tickfont={"size": 11}, **ticks)
    else:
        x = axis(one.name, **scale(one.values, one.is_log, width))
    figure.update_xaxes(x, row=row, col=column)
    y = axis("relative error, %" if column == 1 else "", **y_scale, showticklabels=column == 1)
    figure.update_yaxes(y, matches=None if (row, column) == (2, 1) else "y2", row=row, col=column)
