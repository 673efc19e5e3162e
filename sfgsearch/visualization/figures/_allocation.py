"""The allocation figure: the filters of every layer by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from sfgsearch._stages import by_stage, stages_of
from sfgsearch.allocation import Allocation
from sfgsearch.errors import StudyError
from sfgsearch.visualization._description import Axis, Bars, Figure, Panel, Text
from sfgsearch.visualization._layout import PAGE, Frame, label_width
from sfgsearch.visualization._stages import LABEL, layer_axis, rows_height, stage_borders, stage_rows
from sfgsearch.visualization._style import group_colours, trial_title
from sfgsearch.visualization._trial_review import TrialReview

FEW = 12
"""Layers up to which rows are high."""

_ROOMY, _TIGHT, _RIGHT = 32, 19, 62
_THICKNESS = 0.84
_DIGIT = 7
"""Pixels."""


def allocation_figure(trial: TrialReview | Allocation) -> Figure:
    """Plot every group's part of the filters, layer by layer, the first layer on top.

    Bars name counts where there is room; the filters of every layer stand on the right. Networks of more than 20 layers
    have thin rows, and names and filters of their stages: modules such as ``layer3``.

    Args:
        trial: A trial, or an allocation.

    Raises:
        StudyError: If the trial has no allocation.
    """
    allocation = _allocation_of(trial)
    names = [layer.name for layer in allocation.layers]
    frame = Frame(PAGE, allocation.groups, left=label_width(stages_of(names)), right=_RIGHT, top=20, foot=46)
    heights = [rows_height(len(names), _ROOMY, _TIGHT, FEW)]
    (rect,) = frame.rects(1, heights)
    filters = {stage.name: stage.num_filters for stage in by_stage(allocation).layers}
    rows = stage_rows(names, rect.height)
    sums = [Text(100, row, str(filters[stage]), (8, 0), "left") for stage, row in rows.items()]
    above = Text(1, 1, "filters", (8, 4), "left", "bottom", is_relative=True)
    x = Axis((0.0, 100.0), "part of the layer's filters, %", tuple((25.0 * part, str(25 * part)) for part in range(5)))
    bars = share_bars(allocation, range(len(names)), width=rect.width * (rect.height >= LABEL * len(names)))
    panel = Panel(rect, x, layer_axis(names, rect.height), (*bars, *stage_borders(names, 0, 100), *sums, above))
    return Figure(trial_title(trial, "filters of every group by layer"), (panel,), frame.height(heights))


def _allocation_of(trial: TrialReview | Allocation) -> Allocation:
    if isinstance(trial, Allocation):
        return trial
    if trial.allocation is None:
        raise StudyError(f"trial {trial.number} has no allocation: it has not come to its end")
    return trial.allocation


def share_bars(allocation: Allocation, rows: Sequence[int], *, width: float = 0.0) -> Iterator[Bars]:
    """Yield the bars of every group, whose ends are percent of a layer's filters.

    Args:
        allocation: The allocation.
        rows: The row of every layer.
        width: Pixels of 100 percent, where bars name their counts.
    """
    ends = [
        list(pairwise(accumulate((100 * count / max(layer.num_filters, 1) for count in layer.counts), initial=0.0)))
        for layer in allocation.layers
    ]
    half = _THICKNESS / 2
    for index, (group, colour) in enumerate(group_colours(allocation.tasks).items()):
        counts = [layer.counts[index] for layer in allocation.layers]
        across = [row[index] for row in ends]
        rooms = [width * (end - start) / 100 for start, end in across]
        yield Bars(
            across,
            [(row - half, row + half) for row in rows],
            colour,
            group,
            [
                f"{layer.name}: {count} of {layer.num_filters} filters, {group}, {end - start:.3g} %"
                for layer, count, (start, end) in zip(allocation.layers, counts, across, strict=True)
            ],
            [str(one) if room > _DIGIT * len(str(one)) + 6 else "" for one, room in zip(counts, rooms, strict=True)],
        )
