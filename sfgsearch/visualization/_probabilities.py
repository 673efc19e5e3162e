"""Group probabilities over training, drawn with plotly."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._group_maps import draw_group_maps
from sfgsearch.visualization._study_layout import PAGE, Frame, axis, empty, plain, rounded
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import LONGEST_NAME, NO_PROBABILITIES, trial_title
from sfgsearch.visualization.data._trajectories import History, Trajectories, trajectories

_COLUMNS, _ROW, _BETWEEN = 4, 160, 60


def plot_probabilities(history: History) -> go.Figure:
    """Plot the mean probability of every group over the epochs of a training, layer by layer.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.

    Returns:
        A plotly figure with a panel per layer, or with more than eight layers a map of layers against epochs per
        group.
    """
    found = trajectories(history)
    title = trial_title(history, "mean probability of every group over training")
    if not found.layers:
        return empty(title, NO_PROBABILITIES, PAGE)
    return draw_group_maps(title, found.maps()) if found.are_many else _draw_curves(title, found)


def _draw_curves(title: str, found: Trajectories) -> go.Figure:
    columns = min(len(found.layers), _COLUMNS)
    rows = math.ceil(len(found.layers) / columns)
    height = rows * (_ROW + _BETWEEN) - _BETWEEN
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=_BETWEEN / height if rows > 1 else 0,
        subplot_titles=[plain(shortened(layer, LONGEST_NAME)) for layer in found.layers],
    )
    for group, (name, colour) in enumerate(group_colours(found.groups[:-1]).items()):
        for index in range(len(found.layers)):
            figure.add_scatter(
                x=list(found.epochs),
                y=rounded(found.probs[index, :, group]),
                mode="lines" if len(found.epochs) > 1 else "markers",
                line={"color": colour, "width": 2},
                marker={"color": colour, "size": 8},
                name=plain(name),
                legendgroup=name,
                showlegend=index == 0,
                hovertemplate=f"{plain(name)}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
                row=index // columns + 1,
                col=index % columns + 1,
            )
    figure.update_xaxes(axis(nticks=5, tickformat="d", showgrid=False, range=_span(found.epochs)))
    figure.update_yaxes(axis(range=[-0.03, 1.03], tickvals=[0, 0.5, 1]))
    figure.update_xaxes(title_text="epochs trained", row=rows)
    figure.update_yaxes(title_text="mean probability", col=1)
    figure.update_annotations(font_size=12)
    return Frame(title, PAGE, legend=found.groups, top=26).around(figure, height)


def _span(epochs: tuple[int, ...]) -> list[float]:
    """Return the range of an axis of epochs."""
    margin = 0.03 * (epochs[-1] - epochs[0]) or 0.5
    return [epochs[0] - margin, epochs[-1] + margin]
