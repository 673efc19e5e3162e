"""The allocation of a trial, drawn with matplotlib."""

from __future__ import annotations

from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from sfgsearch.allocation import Allocation
from sfgsearch.visualization._colours import group_colours, ink_on
from sfgsearch.visualization._trial_titles import trial_title
from sfgsearch.visualization.data._layers import allocation_of_trial, layer_shares
from sfgsearch.visualization.data._trial_review import TrialReview
from sfgsearch.visualization.matplotlib._sheet import WIDTH, Sheet, label_width, name_layers, name_ticks, plain

_ROOMY, _TIGHT, _MANY = 30, 18, 12
_RIGHT = 62
_THICKNESS = 0.82


def plot_allocation(trial: TrialReview | Allocation) -> Figure:
    """Plot every group's part of the filters, layer by layer, the first layer on top.

    The twin of :func:`sfgsearch.visualization.plot_allocation`.

    Args:
        trial: A trial, or an allocation.

    Returns:
        A matplotlib figure; bars name counts where there is room, and the filters of every layer on the right.

    Raises:
        StudyError: If the trial has no allocation.
    """
    allocation = allocation_of_trial(trial)
    layers = [layer.name for layer in allocation.layers]
    pitch = _TIGHT if len(layers) > _MANY else _ROOMY
    colours = group_colours(allocation.tasks)
    sheet = Sheet(trial_title(trial, "filters of every group by layer"), len(layers) * pitch + 58, colours)
    left = label_width(layers)
    width = WIDTH - left - _RIGHT
    axes = sheet.axes(left, 14, width, len(layers) * pitch)
    plain(axes, spines=("bottom",))
    shares = layer_shares(allocation)
    edges = [[sum(parts[:group]) for group in range(len(parts) + 1)] for parts in shares]
    for group, colour in enumerate(colours.values()):
        bars = [
            [(100 * x, row + y) for x, y in _rectangle(ends[group], ends[group + 1])] for row, ends in enumerate(edges)
        ]
        axes.add_collection(PolyCollection(bars, facecolors=colour, edgecolors="white", linewidths=0.5), autolim=False)
    for row, (layer, ends) in enumerate(zip(allocation.layers, edges, strict=True)):
        for group, count in enumerate(layer.counts):
            if (ends[group + 1] - ends[group]) * width > 7 * len(str(count)) + 6:
                middle = 50 * (ends[group] + ends[group + 1])
                ink = ink_on(list(colours.values())[group])
                axes.text(middle, row, str(count), ha="center", va="center_baseline", fontsize=7.5, color=ink)
        sheet.text(WIDTH - _RIGHT + 8, 14 + pitch * (row + 0.5), str(layer.num_filters))
    sheet.text(WIDTH - _RIGHT + 8, 4, "filters", fontsize=7.5)
    name_layers(axes, layers)
    name_ticks(axes, "x", [0, 25, 50, 75, 100], ["0", "25", "50", "75", "100"])
    axes.set_xlim(0, 100)
    axes.set_xlabel("part of the layer's filters, %", fontsize=8)
    return sheet.figure


def _rectangle(start: float, end: float) -> list[tuple[float, float]]:
    half = _THICKNESS / 2
    return [(start, -half), (end, -half), (end, half), (start, half)]
