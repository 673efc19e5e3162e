"""The figure of the best allocation of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import optuna

from sfgsearch._stages import by_stage, stages_of
from sfgsearch.allocation import Allocation
from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import thousands
from sfgsearch.records import STRATEGIES
from sfgsearch.search._attributes import allocation_of
from sfgsearch.visualization._description import Axis, Figure, Panel, saying
from sfgsearch.visualization._layout import LINE, PAGE, FigureSize, Frame, Rect, label_width
from sfgsearch.visualization._stages import layer_axis, rows_height, stage_borders
from sfgsearch.visualization._style import study_title
from sfgsearch.visualization._trials import error_of, kind_of, name_of
from sfgsearch.visualization.figures._allocation import FEW, share_bars

_PERCENT = ((0.0, "0"), (50.0, "50"), (100.0, "100"))
_ROOMY, _TIGHT = 34, 19
"""Pixels of a row where there are few and where there are many."""


@dataclass(frozen=True)
class BestAllocation:
    """The best trial of a kind and how it shares.

    Args:
        kind: The kind.
        name: What the trial is called.
        trial: Its number.
        error: Its relative error: the finalist's on the test split, or the trial's own on the validation split.
        is_tested: Whether it is the finalist's.
        macs: Multiply-adds for one image.
        allocation: Its allocation.
    """

    kind: str
    name: str
    trial: int
    error: float
    is_tested: bool
    macs: int
    allocation: Allocation

    @property
    def caption(self) -> tuple[str, str, str]:
        """Name, error and cost, which stand over its panel."""
        return self.name, f"error {100 * self.error:.1f} %", f"{thousands(self.macs)} multiply-adds"


def best_allocations(study: optuna.Study, comparison: Comparison | None = None) -> list[BestAllocation]:
    """Return the best of each kind: that of the comparison, or the trial with the lowest relative error.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, where there are any.
    """
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    rows = comparison.best if comparison else {}
    found = []
    for kind in STRATEGIES:
        row = rows.get(kind)
        if row is not None and row.trial in trials:
            trial, error = trials[row.trial], row.error.mean
        else:
            row = None
            judged = [
                (value, trial.number)
                for trial in trials.values()
                if kind_of(trial) == kind and (value := error_of(trial)) is not None
            ]
            if not judged:
                continue
            error, number = min(judged)
            trial = trials[number]
        allocation = allocation_of(trial)
        if allocation is None:
            continue
        macs = row.macs if row is not None else int(trial.user_attrs.get("macs", 0))
        found.append(BestAllocation(kind, name_of(trial), trial.number, error, row is not None, macs, allocation))
    return found


def best_allocations_figure(
    study: optuna.Study, comparison: Comparison | None = None, *, size: FigureSize = PAGE
) -> Figure:
    """Plot how the best of each kind shares its filters, layer by layer, the first layer on top.

    Networks of more than 20 layers have thin rows, and names of their stages.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, whose best are taken; without it the best trials.
        size: Where it is shown; where that is low, rows are stages, and some go without their names.
    """
    best = best_allocations(study, comparison)
    title = study_title(study.study_name, "how the best of each kind shares its filters")
    if not best:
        return saying(title, "No trial is complete yet", size)
    # Tasks may skip layers of their own; the longest allocation has all of them.
    layers = [layer.name for layer in max((one.allocation.layers for one in best), key=len)]
    if size.is_tight:
        best = [replace(one, allocation=by_stage(one.allocation, layers)) for one in best]
        layers = list(stages_of(layers))
    legend = best[0].allocation.groups
    frame = Frame(size, legend, left=label_width(stages_of(layers)), top=4 * LINE + 14, foot=44)
    wanted = [max(rows_height(len(layers), _ROOMY, _TIGHT, FEW), 120.0)]
    rects = frame.rects(len(best), wanted)
    panels = tuple(
        _panel(one, rect, layers, layer_axis(layers, rect.height, has_labels=not index))
        for index, (one, rect) in enumerate(zip(best, rects, strict=True))
    )
    return Figure(title, panels, frame.height(wanted), size)


def _panel(best: BestAllocation, rect: Rect, layers: Sequence[str], y: Axis) -> Panel:
    rows = [layers.index(layer.name) for layer in best.allocation.layers]
    x = Axis((0.0, 100.0), "filters, %", _PERCENT)
    return Panel(
        rect, x, y, (*share_bars(best.allocation, rows), *stage_borders(layers, 0, 100)), (best.kind, *best.caption)
    )
