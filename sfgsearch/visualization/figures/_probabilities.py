"""The probabilities figure: what group probabilities did over the epochs of a training."""

from __future__ import annotations

import numpy as np

from sfgsearch.allocation import group_names
from sfgsearch.visualization._description import Axis, Figure, Panel, saying
from sfgsearch.visualization._group_maps import group_maps
from sfgsearch.visualization._layout import BOLD_LETTER, PAGE, Frame, shortened
from sfgsearch.visualization._scales import epoch_axis
from sfgsearch.visualization._style import group_colours, trial_title
from sfgsearch.visualization.figures._history import History, curve, reports_of

NO_PROBABILITIES = "This method has no group probabilities"

_MOST_CURVES = 8
"""Layers up to which every one has a panel of curves."""

_COLUMNS, _ROW = 4, 150


def probabilities_figure(history: History) -> Figure:
    """Plot the mean probability of every group over the epochs of a training, layer by layer.

    There is a panel per layer, or with more than eight layers a map of layers against epochs per group.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.
    """
    title = trial_title(history, "mean probability of every group over training")
    reports = [report for report in reports_of(history) if report.mean_probs]
    if not reports:
        return saying(title, NO_PROBABILITIES)
    groups, layers = group_names(tuple(reports[0].task_losses)), list(reports[0].mean_probs)
    epochs = [report.epoch + 1 for report in reports]
    probs = np.array([[report.mean_probs[layer] for report in reports] for layer in layers])
    if len(layers) <= _MOST_CURVES:
        return _curves(title, groups, layers, epochs, probs)
    x = Axis((epochs[0] - 0.5, epochs[-1] + 0.5), "epochs trained", count=4, is_integer=True)
    maps = np.moveaxis(probs, 2, 0)
    return group_maps(title, maps, x, groups=groups, layers=layers, quantity="mean probability", percent=False)


def _curves(title: str, groups: tuple[str, ...], layers: list[str], epochs: list[int], probs: np.ndarray) -> Figure:
    """Return a panel per layer; ``probs`` has shape (layers, epochs, groups)."""
    columns = min(len(layers), _COLUMNS)
    heights = [float(_ROW)] * -(-len(layers) // columns)
    frame = Frame(PAGE, groups, top=28, foot=46, gap=20)
    letters = int((frame.width(columns) + frame.gap) // BOLD_LETTER)
    colours, ticks = group_colours(groups[:-1]), ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))
    panels = []
    for index, (layer, rect) in enumerate(zip(layers, frame.rects(columns, heights), strict=False)):
        x = epoch_axis(epochs, "epochs trained" if index + columns >= len(layers) else "")
        is_first = index % columns == 0
        y = Axis((-0.03, 1.03), "mean probability" if is_first else "", ticks, has_labels=is_first)
        marks = tuple(
            curve(epochs, probs[index, :, group].tolist(), colour, name)
            for group, (name, colour) in enumerate(colours.items())
        )
        panels.append(Panel(rect, x, y, marks, (shortened(layer, letters),)))
    return Figure(title, tuple(panels), frame.height(heights))
