"""The allocation of a trial, drawn with plotly."""

from __future__ import annotations

import plotly.graph_objects as go

from sfgsearch.allocation import Allocation
from sfgsearch.visualization._colours import group_colours, ink_on
from sfgsearch.visualization._study_layout import PAGE, Frame, axis, label_width, plain, rounded
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import LONGEST_NAME, trial_title
from sfgsearch.visualization.data._layers import allocation_of_trial, layer_shares
from sfgsearch.visualization.data._trial_review import TrialReview

_ROOMY, _TIGHT, _MANY = 34, 19, 12
_LEAST = 0.025
"""Part of the filters from which a bar has room for its count."""


def plot_allocation(trial: TrialReview | Allocation) -> go.Figure:
    """Plot every group's part of the filters, layer by layer, the first layer on top.

    Args:
        trial: A trial, or an allocation.

    Returns:
        A plotly figure; bars name counts where there is room, and the filters of every layer on the right.

    Raises:
        StudyError: If the trial has no allocation.
    """
    allocation = allocation_of_trial(trial)
    names = [shortened(layer.name, LONGEST_NAME) for layer in allocation.layers]
    shares = layer_shares(allocation)
    frame = Frame(
        trial_title(trial, "filters of every group by layer"),
        PAGE,
        legend=allocation.groups,
        left=label_width(names),
        top=20,
    )
    figure = go.Figure()
    for index, (group, colour) in enumerate(group_colours(allocation.tasks).items()):
        parts = [row[index] for row in shares]
        counts = [layer.counts[index] for layer in allocation.layers]
        figure.add_bar(
            x=rounded(100 * part for part in parts),
            y=list(range(len(names))),
            orientation="h",
            name=plain(group),
            legendgroup=group,
            marker={"color": colour, "line": {"color": "white", "width": 0.5}},
            text=[str(count) if part >= _LEAST else "" for count, part in zip(counts, parts, strict=True)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": ink_on(colour), "size": 11},
            customdata=[
                [plain(layer.name), count, layer.num_filters]
                for layer, count in zip(allocation.layers, counts, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{customdata[1]} of %{customdata[2]} filters, "
            + plain(group)
            + ", %{x:.3g} %<extra></extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.18, legend_traceorder="normal")
    figure.update_xaxes(axis("part of the layer's filters, %", range=[0, 100], tickvals=[0, 25, 50, 75, 100]))
    figure.update_yaxes(axis(tickvals=list(range(len(names))), ticktext=[plain(name) for name in names]))
    figure.update_yaxes(range=[len(names) - 0.5, -0.5], showgrid=False, ticks="")
    side = {"showarrow": False, "xref": "paper", "x": 1, "xanchor": "left", "xshift": 8, "font": {"size": 11}}
    for row, layer in enumerate(allocation.layers):
        figure.add_annotation(y=row, yanchor="middle", text=str(layer.num_filters), **side)
    figure.add_annotation(y=1, yref="paper", yanchor="bottom", text="filters", **side)
    return frame.around(figure, len(names) * (_TIGHT if len(names) > _MANY else _ROOMY)).update_layout(margin_r=60)
