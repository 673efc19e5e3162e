"""Group probabilities of single filters, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike

from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import NO_PROBABILITIES, trial_title
from sfgsearch.visualization.data._lattice import Lattice
from sfgsearch.visualization.data._simplex import BINS, CORNERS, Simplex, density, histogram, in_triangle, simplex
from sfgsearch.visualization.data._trial_review import TrialReview
from sfgsearch.visualization.matplotlib._group_maps import draw_group_maps
from sfgsearch.visualization.matplotlib._sheet import GREY, WIDTH, Sheet
from sfgsearch.visualization.matplotlib._study_axes import literal

_CELLS, _MARGIN = 40, 20
_BETWEEN, _LETTER = 28, 6.5
"""Pixels between panels that names may take, and those of a letter."""

_GREYS = LinearSegmentedColormap.from_list("density", ["#ffffff", "#a8a8a8"])
_OUTLINE = "#999999"


def plot_simplex(trial: TrialReview | Mapping[str, ArrayLike], *, tasks: Sequence[str] | None = None) -> Figure:
    """Plot where the filters of every layer lie on the simplex of group probabilities.

    The twin of :func:`sfgsearch.visualization.plot_simplex`.

    Args:
        trial: A trial, or probabilities (K, T+1) by layer in depth order.
        tasks: The names of the tasks, where there is no trial.

    Returns:
        A matplotlib figure. One task: a histogram per layer. Two tasks: a triangle per layer, with a point per filter
        and their density. More: a map per group, of layers against probability.
    """
    found = simplex(trial, tasks)
    title = trial_title(trial, "group probabilities of single filters")
    if not found.layers:
        return Sheet.saying(title, NO_PROBABILITIES)
    return draw_group_maps(title, found.maps()) if found.num_tasks > 2 else _draw_panels(title, found)


def _draw_panels(title: str, found: Simplex) -> Figure:
    lattice = Lattice(len(found.layers), WIDTH - 2 * _MARGIN, found.proportion)
    colours = group_colours(found.groups[:-1])
    sheet = Sheet(title, lattice.height + _MARGIN, colours, note=found.note)
    axes = sheet.axes(_MARGIN, 0, lattice.width, lattice.height)
    axes.set_axis_off()
    axes.set_xlim(0, lattice.width)
    axes.set_ylim(0, lattice.height)
    draw = _draw_triangles if found.num_tasks == 2 else _draw_histograms
    draw(axes, found, lattice, list(colours.values()))
    for index, layer in enumerate(found.layers):
        x, y = lattice.caption(index)
        name = literal(shortened(layer.name, int((lattice.side + _BETWEEN) // _LETTER)))
        axes.text(x, y + 11, name, ha="center", fontsize=8)
        axes.text(x, y, layer.caption, ha="center", fontsize=7, color=GREY)
    return sheet.figure


def _draw_triangles(axes: Axes, found: Simplex, lattice: Lattice, colours: Sequence[str]) -> None:
    side = lattice.side
    corners = [np.array(lattice.corner(index)) for index in range(len(found.layers))]
    triangles = [corner + side * CORNERS for corner in corners]
    for layer, (x, y), triangle in zip(found.layers, corners, triangles, strict=True):
        image = axes.imshow(
            density(layer.probs, _CELLS),
            cmap=_GREYS,
            vmin=0,
            vmax=1,
            origin="lower",
            extent=(x, x + side, y, y + side),
            interpolation="bilinear",
        )
        image.set_clip_path(Polygon(triangle, transform=axes.transData))
    axes.set_xlim(0, lattice.width)  # images have changed them
    axes.set_ylim(0, lattice.height)
    axes.add_collection(PolyCollection(triangles, facecolors="none", edgecolors=_OUTLINE, linewidths=0.8))
    inside = zip(found.layers, corners, strict=True)
    places = np.concatenate([corner + side * in_triangle(layer.probs) for layer, corner in inside])
    groups = np.concatenate([layer.groups for layer in found.layers])
    outwards = CORNERS - CORNERS.mean(0)
    for group, colour in enumerate(colours):
        mine = places[groups == group]
        axes.scatter(mine[:, 0], mine[:, 1], s=12, color=colour, edgecolors="white", linewidths=0.4, alpha=0.85)
        marks = np.array([triangle[group] + 10 * outwards[group] for triangle in triangles])
        axes.scatter(marks[:, 0], marks[:, 1], s=26, color=colour, marker="s", linewidths=0, clip_on=False)


def _draw_histograms(axes: Axes, found: Simplex, lattice: Lattice, colours: Sequence[str]) -> None:
    side, tall = lattice.side, lattice.side * lattice.proportion
    bars: list[list[list[tuple[float, float]]]] = [[], []]
    feet = []
    for index, layer in enumerate(found.layers):
        x, y = lattice.corner(index)
        parts = histogram(layer.probs[:, 0])
        feet.append([(x, y), (x + side, y)])
        if index + lattice.columns >= len(found.layers):
            axes.text(x, y - 4, "0", ha="center", va="top", fontsize=7)
            axes.text(x + side, y - 4, "1", ha="center", va="top", fontsize=7)
        for place, part in enumerate(parts):
            left, right, top = x + side * place / BINS, x + side * (place + 1) / BINS, y + tall * part / parts.max()
            bars[0 if 2 * place >= BINS else 1].append([(left, y), (right, y), (right, top), (left, top)])
    for one, colour in zip(bars, colours, strict=True):
        axes.add_collection(PolyCollection(one, facecolors=colour, edgecolors="white", linewidths=0.4))
    axes.add_collection(LineCollection(feet, colors=_OUTLINE, linewidths=0.8))
