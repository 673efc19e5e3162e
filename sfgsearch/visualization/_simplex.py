"""Group probabilities of single filters, drawn with plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._group_maps import draw_group_maps
from sfgsearch.visualization._study_layout import PAGE, Frame, empty, plain, rounded
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import NO_PROBABILITIES, trial_title
from sfgsearch.visualization.data._lattice import Lattice
from sfgsearch.visualization.data._simplex import (
    BINS,
    CORNERS,
    Simplex,
    density,
    histogram,
    in_triangle,
    is_inside,
    simplex,
)
from sfgsearch.visualization.data._trial_review import TrialReview

_FINE, _COARSE, _MANY, _MARGIN, _NOTE = 48, 32, 8, 24, 22
_OUTLINE = "#999999"


def plot_simplex(trial: TrialReview | Mapping[str, ArrayLike], *, tasks: Sequence[str] | None = None) -> go.Figure:
    """Plot where the filters of every layer lie on the simplex of group probabilities.

    Args:
        trial: A trial, or probabilities (K, T+1) by layer in depth order.
        tasks: The names of the tasks, where there is no trial.

    Returns:
        A plotly figure. One task: a histogram per layer. Two tasks: a triangle per layer, with a point per filter and
        their density. More: a map per group, of layers against probability.
    """
    found = simplex(trial, tasks)
    title = trial_title(trial, "group probabilities of single filters")
    if not found.layers:
        return empty(title, NO_PROBABILITIES, PAGE)
    return draw_group_maps(title, found.maps()) if found.num_tasks > 2 else _draw_panels(title, found)


def _draw_panels(title: str, found: Simplex) -> go.Figure:
    lattice = Lattice(len(found.layers), PAGE.width - 2 * _MARGIN, found.proportion)
    figure = go.Figure()
    draw = _draw_triangles if found.num_tasks == 2 else _draw_histograms
    draw(figure, found, lattice)
    hidden = {"visible": False, "showgrid": False}
    figure.update_xaxes(range=[-8, lattice.width + 8], **hidden)
    figure.update_yaxes(range=[-18, lattice.height], scaleanchor="x", **hidden)
    for index, layer in enumerate(found.layers):
        x, y = lattice.caption(index)
        name = plain(shortened(layer.name, int(lattice.side // 6)))
        text = f"{name}<br><span style='font-size:10px;color:#666666'>{layer.caption}</span>"
        figure.add_annotation(x=x, y=y - 4, text=text, showarrow=False, yanchor="bottom", font={"size": 12})
    figure.add_annotation(
        text=plain(found.note), x=0, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom"
    ).update_annotations(showarrow=False)
    figure.layout.annotations[-1].font = {"size": 11, "color": "#666666"}
    frame = Frame(title, PAGE, legend=found.groups, left=_MARGIN, top=_NOTE)
    return frame.around(figure, lattice.height + 18).update_layout(margin_b=12, barmode="overlay", bargap=0)


def _draw_triangles(figure: go.Figure, found: Simplex, lattice: Lattice) -> None:
    side = lattice.side
    corners = [np.array(lattice.corner(index)) for index in range(len(found.layers))]
    cells = _COARSE if len(found.layers) > _MANY else _FINE
    inside = is_inside(cells)
    outlines: list[list[float | None]] = []
    for layer, (x, y) in zip(found.layers, corners, strict=True):
        shades = np.where(inside, density(layer.probs, cells), np.nan)
        figure.add_heatmap(
            x0=x + side / cells / 2,
            dx=side / cells,
            y0=y + side / cells / 2,
            dy=side / cells,
            z=[rounded(row) for row in shades.round(2)],
            zmin=0,
            zmax=1,
            colorscale=[[0, "#ffffff"], [1, "#a8a8a8"]],
            showscale=False,
            hoverinfo="skip",
            name=plain(layer.name),
        )
        outlines += [*((CORNERS[[0, 1, 2, 0]] * side + (x, y)).tolist()), [None, None]]
    ways = list(zip(*outlines, strict=True))
    line = {"color": _OUTLINE, "width": 1}
    figure.add_scatter(x=ways[0], y=ways[1], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    outwards = 10 * (CORNERS - CORNERS.mean(0))
    for group, (name, colour) in enumerate(group_colours(found.groups[:-1]).items()):
        marks = np.array([corner + side * CORNERS[group] + outwards[group] for corner in corners])
        _add_points(figure, marks, name, {"color": colour, "size": 8, "symbol": "square"}, showlegend=True)
        members = [layer.groups == group for layer in found.layers]
        chosen = list(zip(found.layers, corners, members, strict=True))
        places = np.concatenate([corner + side * in_triangle(one.probs[mine]) for one, corner, mine in chosen])
        _add_points(
            figure,
            places,
            name,
            {"color": colour, "size": 5, "line": {"color": "white", "width": 0.5}},
            customdata=[
                [plain(one.name), int(number), _written(found.groups, one.probs[number])]
                for one, _, mine in chosen
                for number in np.flatnonzero(mine)
            ],
            hovertemplate="%{customdata[0]}, filter %{customdata[1]}: %{customdata[2]}<extra></extra>",
            showlegend=False,
        )


def _add_points(
    figure: go.Figure, places: np.ndarray, name: str, marker: Mapping[str, object], **options: object
) -> None:
    hover = {} if "hovertemplate" in options else {"hoverinfo": "skip"}
    figure.add_scatter(
        x=rounded(places[:, 0]),
        y=rounded(places[:, 1]),
        mode="markers",
        marker=marker,
        name=plain(name),
        legendgroup=name,
        **hover,
        **options,
    )


def _written(groups: Sequence[str], probs: np.ndarray) -> str:
    return ", ".join(f"{plain(group)} {prob:.2f}" for group, prob in zip(groups, probs, strict=True))


def _draw_histograms(figure: go.Figure, found: Simplex, lattice: Lattice) -> None:
    side, tall = lattice.side, lattice.side * lattice.proportion
    colours = list(group_colours(found.groups[:-1]).items())
    for index, layer in enumerate(found.layers):
        x, y = lattice.corner(index)
        parts = histogram(layer.probs[:, 0])
        for (name, colour), bins in zip(colours, (range(BINS // 2, BINS), range(BINS // 2)), strict=True):
            figure.add_bar(
                x=rounded(x + side * (place + 0.5) / BINS for place in bins),
                y=rounded(tall * parts[place] / parts.max() for place in bins),
                base=y,
                width=side / BINS,
                marker={"color": colour, "line": {"color": "white", "width": 0.5}},
                customdata=[[f"{place / BINS:g} to {(place + 1) / BINS:g}", float(parts[place])] for place in bins],
                hovertemplate=f"{plain(layer.name)}, {plain(found.groups[0])} %{{customdata[0]}}: "
                "%{customdata[1]:.1%} of filters<extra></extra>",
                name=plain(name),
                legendgroup=name,
                showlegend=index == 0,
            )
        figure.add_shape(type="line", x0=x, x1=x + side, y0=y, y1=y, line={"color": _OUTLINE, "width": 1})
        if index + lattice.columns >= len(found.layers):
            for end, place in (("0", x), ("1", x + side)):
                figure.add_annotation(x=place, y=y, text=end, showarrow=False, yanchor="top", font={"size": 10})
