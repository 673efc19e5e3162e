"""One map per group, of layers against something else, drawn with plotly."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sfgsearch.visualization._colours import group_colours, on_white
from sfgsearch.visualization._study_layout import PAGE, Frame, axis, label_width, plain, rounded
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import LONGEST_NAME
from sfgsearch.visualization.data._group_maps import GroupMaps

_MOST_IN_A_ROW, _COLUMNS = 4, 3
_ROOMY, _TIGHT, _MANY, _BETWEEN = 26, 15, 12, 76
_SCALE, _FOOT = 54, 50
_NARROW = 0.2
_SPACING, _BOLD_LETTER = 0.03, 7.4
_STOPS = (0.0, 0.01, 0.04, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81, 1.0)


def draw_group_maps(title: str, maps: GroupMaps) -> go.Figure:
    """Draw maps from white to the colour of their group, side by side, and one legend of how strong colours are.

    Args:
        title: The figure's title.
        maps: What they show.
    """
    columns = len(maps.groups) if len(maps.groups) <= _MOST_IN_A_ROW else _COLUMNS
    rows = math.ceil(len(maps.groups) / columns)
    panel = len(maps.layers) * (_TIGHT if len(maps.layers) > _MANY else _ROOMY)
    height = rows * (panel + _BETWEEN) - _BETWEEN
    names = [shortened(layer, LONGEST_NAME) for layer in maps.layers]
    framed = Frame(title, PAGE, left=label_width(names), top=26)
    letters = int(framed.width * (1 + _SPACING) / columns // _BOLD_LETTER)
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes=True,
        horizontal_spacing=_SPACING,
        vertical_spacing=_BETWEEN / height if rows > 1 else 0,
        subplot_titles=[f"<b>{plain(shortened(group, letters))}</b>" for group in maps.groups],
    )
    for index, colour in enumerate(group_colours(maps.groups[:-1]).values()):
        row, column = divmod(index, columns)
        _draw(figure, maps, index, colour, row=row + 1, col=column + 1)
        figure.layout.annotations[index].font = {"size": 13, "color": colour}
    figure.update_xaxes(axis(maps.across, nticks=5, showgrid=False, range=list(maps.edges)))
    figure.update_yaxes(axis(tickvals=list(range(len(names))), ticktext=[plain(name) for name in names]))
    figure.update_yaxes(
        range=[len(names) - 0.5, -0.5], type="category", showgrid=False, ticks="", tickfont={"size": 11}
    )
    figure.add_annotation(
        text=f"{maps.quantity}, every group in its colour:",
        showarrow=False,
        font={"size": 11},
        **{"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": 0, "yanchor": "top", "yshift": -_FOOT},
    )
    framed.around(figure, height)
    return figure.update_layout(height=figure.layout.height + _SCALE, margin_b=_FOOT + _SCALE)


def _draw(figure: go.Figure, maps: GroupMaps, group: int, colour: str, **place: int) -> None:
    is_last = group + 1 == len(maps.groups)
    strengths = zip(_STOPS, maps.strength(_STOPS), strict=True)
    figure.add_heatmap(
        x=rounded(maps.centres),
        y=[plain(layer) for layer in maps.layers],
        z=[rounded(row) for row in maps.values[group]],
        zmin=0,
        zmax=1,
        colorscale=[[value, on_white(colour, strength)] for value, strength in strengths],
        showscale=is_last,
        colorbar=_colorbar(maps) if is_last else None,
        hovertemplate="%{y}, " + maps.across + " %{x:.3g}: %{z:" + (".1%" if maps.in_percent else ".3f") + "}",
        name=plain(maps.groups[group]),
        **place,
    )


def _colorbar(maps: GroupMaps) -> dict[str, Any]:
    values, labels = zip(*((value, label) for value, label in maps.scale if not 0 < value < _NARROW), strict=True)
    return {
        "tickvals": values,
        "ticktext": labels,
        "tickfont": {"size": 10},
        "tickangle": 0,
        "orientation": "h",
        "thickness": 10,
        "lenmode": "pixels",
        "len": 300,
        "x": 0,
        "xanchor": "left",
        "xpad": 0,
        "yref": "container",
        "y": 0,
        "yanchor": "bottom",
        "ypad": 6,
    }
