"""The allocations of the best of each kind, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sfgsearch.comparison import Comparison
from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization._study_marks import heading
from sfgsearch.visualization.data._allocations import BestAllocation, best_allocations, longest_layers
from sfgsearch.visualization.matplotlib._study_axes import (
    add_legend,
    empty,
    group_handles,
    literal,
    name_rows,
    new_figure,
    tidy,
)

_ROOMY, _TIGHT, _MANY = 0.34, 0.19, 12


def plot_best_allocations(study: optuna.Study, comparison: Comparison | None = None) -> Figure:
    """Plot how the best of each kind shares its filters, layer by layer, the first layer on top.

    The twin of :func:`sfgsearch.visualization.plot_best_allocations`.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, whose best are taken; without it the best trials.

    Returns:
        A matplotlib figure with one panel per kind; bars show every group's part of a layer's filters.
    """
    best = best_allocations(study, comparison)
    title = heading(study.study_name, "how the best of each kind shares its filters")
    if not best:
        return empty(title, "No trial is complete yet")
    layers = longest_layers(best)
    figure = new_figure(title, 1.9 + len(layers) * (_TIGHT if len(layers) > _MANY else _ROOMY))
    grid = figure.subplots(1, len(best), squeeze=False)
    for index, (axes, one) in enumerate(zip(grid.flat, best, strict=True)):
        _draw(axes, one, layers)
        name_rows(axes, layers, has_labels=index == 0)
    add_legend(figure, group_handles(group_colours(best[0].allocation.tasks)))
    return figure


def _draw(axes: Axes, best: BestAllocation, layers: Sequence[str]) -> None:
    tidy(axes, grid="none")
    rows, left = [layers.index(layer.name) for layer in best.allocation.layers], [0.0] * len(best.shares)
    for index, colour in enumerate(group_colours(best.allocation.tasks).values()):
        widths = [100 * parts[index] for parts in best.shares]
        axes.barh(rows, widths, left=left, height=0.85, color=colour, edgecolor="white", linewidth=0.4)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.set_xlabel("filters, %", fontsize=8)
    axes.set_title("\n".join(map(literal, (best.kind, *best.caption))), fontsize=9)
