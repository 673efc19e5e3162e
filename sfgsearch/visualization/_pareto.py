"""Accuracy against multiply-adds, drawn with plotly."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go

from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import thousands
from sfgsearch.records import STRATEGIES
from sfgsearch.visualization._study_layout import (
    INK,
    PAGE,
    FigureSize,
    Frame,
    axis,
    empty,
    plain,
    rounded,
    scale,
)
from sfgsearch.visualization._study_marks import MARKS, heading, mark
from sfgsearch.visualization.data._pareto import Cloud, ParetoPoint, pareto_cloud

_HEIGHT = 420
_GAP = "\u2002\u2002"
"""Between a mark and its name."""


def plot_pareto(
    study: optuna.Study,
    comparison: Comparison | None = None,
    *,
    metric: str | None = None,
    size: FigureSize = PAGE,
) -> go.Figure:
    """Plot quality against multiply-adds: trials faintly, named finalists with 95 % intervals, and the Pareto front.

    Trials are measured on the validation split with one seed, finalists on the test split over several; the front is
    one of finalists, or of trials as long as there are none. All have the study's width.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, where there are any.
        metric: A main metric ``"<task>/<metric>"`` of the comparison instead of the mean relative error.
        size: Where it is shown.

    Returns:
        A plotly figure.

    Raises:
        ValueError: If the comparison has no such metric.
    """
    cloud = pareto_cloud(study, comparison, metric)
    figure, title = go.Figure(), heading(study.study_name, f"{cloud.title} against multiply-adds")
    if not cloud.front:
        return empty(title, "No trial is complete yet", size)
    if len(cloud.front) > 1:
        _draw_front(figure, cloud)
    for kind in STRATEGIES:
        _draw_trials(figure, [point for point in cloud.trials if point.kind == kind], kind, cloud)
    for pair in MARKS:
        _draw_finalists(figure, [p for p in cloud.finalists if (p.kind, p.inference) == pair], pair, cloud)
    frame = Frame(title, size, legend=[trace.name for trace in figure.data], top=14)
    if not size.is_tight:
        _name_finalists(figure, cloud, frame)
    points = (*cloud.trials, *cloud.finalists)
    x = {**scale([point.macs for point in points], cloud.has_log_macs), "tickformat": "~s"}
    figure.update_xaxes(axis("multiply-adds for one image", **x))
    figure.update_yaxes(axis(cloud.axis, **scale([point.value for point in points], cloud.has_log_values)))
    return frame.around(figure, _HEIGHT)


def _name_finalists(figure: go.Figure, cloud: Cloud, frame: Frame) -> None:
    labels = cloud.labels(frame.width, frame.inner(_HEIGHT))
    if not labels:
        return
    figure.add_scatter(
        x=[point.macs for point in cloud.finalists],
        y=rounded(point.value for point in cloud.finalists),
        mode="text",
        text=[f"{_GAP}{plain(label.text)}{_GAP}" for label in labels],
        textposition=[f"{label.vertical} {label.horizontal}" for label in labels],
        textfont={"size": 10, "color": INK},
        showlegend=False,
        hoverinfo="skip",
    )


def _draw_front(figure: go.Figure, cloud: Cloud) -> None:
    figure.add_scatter(
        x=[point.macs for point in cloud.front],
        y=rounded(point.value for point in cloud.front),
        mode="lines",
        line={"color": INK, "width": 1.5, "dash": "dot"},
        name=cloud.front_name,
        legendgroup=cloud.front_name,
        hoverinfo="skip",
    )


def _draw_trials(figure: go.Figure, points: list[ParetoPoint], kind: str, cloud: Cloud) -> None:
    if not points:
        return
    style = mark(kind)
    figure.add_scatter(
        x=[point.macs for point in points],
        y=rounded(point.value for point in points),
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 7, "opacity": 0.3},
        name=f"{kind} trials",
        legendgroup=f"{kind} trials",
        text=[_hover(point) for point in points],
        hovertemplate="%{text}<br>%{y:.4g} " + plain(cloud.unit) + ", validation, one seed<extra></extra>",
    )


def _draw_finalists(figure: go.Figure, points: list[ParetoPoint], pair: tuple[str, str], cloud: Cloud) -> None:
    if not points:
        return
    style = mark(*pair)
    figure.add_scatter(
        x=[point.macs for point in points],
        y=rounded(point.value for point in points),
        error_y={"type": "data", "array": rounded(point.high - point.value for point in points)}
        | {"color": style.colour, "thickness": 1.5, "width": 4},
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 12, "line": {"width": 1.5}},
        name=style.label,
        legendgroup=style.label,
        text=[f"{_hover(point)}<br>{plain(point.written(cloud.unit))}" for point in points],
        hovertemplate="%{text}, test<extra></extra>",
    )


def _hover(point: ParetoPoint) -> str:
    return f"{plain(point.name)}, {thousands(point.macs)} multiply-adds"
