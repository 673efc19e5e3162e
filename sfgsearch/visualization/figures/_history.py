"""The history figure: losses and metrics over the epochs of a training."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sfgsearch.comparison._formats import scale_of, shown_unit
from sfgsearch.tasks import FRACTION
from sfgsearch.training import EpochReport
from sfgsearch.visualization._description import INK, Figure, Line, Marker, Panel, Points, saying
from sfgsearch.visualization._layout import PAGE, Frame, Rect
from sfgsearch.visualization._scales import epoch_axis, value_axis
from sfgsearch.visualization._style import task_colours, trial_title
from sfgsearch.visualization._trial_review import TrialReview, read_history

History = TrialReview | Sequence[EpochReport] | Mapping[str, Any]
"""A trial, reports of its epochs, or what its ``history.json`` holds."""

ALL = "all tasks"
"""Names of curves that belong to no single task."""

Quantity = tuple[str, str, dict[str, list[float]]]
"""A title, a unit, which may be empty, and values per epoch by task or :data:`ALL`."""

_COLUMNS = {1: 1, 2: 2, 4: 2}
_ROW = 165


def history_figure(history: History, *, units: Mapping[str, str] | None = None) -> Figure:
    """Plot losses, objective, relative error, metrics and, where they are learned, weights of tasks over epochs.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.
        units: Units by ``"<task>/<metric>"``; those of the trial if None. What has no unit is a plain number.
    """
    title, reports = trial_title(history, "the course of its training"), reports_of(history)
    if not reports:
        return saying(title, "No epoch has come to its end")
    shown: Collection[str] = reports[0].metrics
    if isinstance(history, TrialReview):
        units = history.units if units is None else units
        shown = history.headline or shown
    tasks = list(reports[0].task_losses)
    quantities = [_losses(reports), _error(reports), *_metrics(reports, shown, units or {}), *_weights(reports)]
    columns = _COLUMNS.get(len(quantities), 3)
    heights = [float(_ROW)] * -(-len(quantities) // columns)
    frame = Frame(PAGE, (*tasks, ALL), left=66, top=28, foot=46, gap=70)
    rects = frame.rects(columns, heights)[: len(quantities)]
    epochs = [report.epoch + 1 for report in reports]
    panels = [
        _panel(one, rect, epochs, tasks, "epochs trained" if index + columns >= len(quantities) else "")
        for index, (one, rect) in enumerate(zip(quantities, rects, strict=True))
    ]
    return Figure(title, tuple(panels), frame.height(heights))


def reports_of(history: History) -> list[EpochReport]:
    """Return the reports of a trial's epochs, in order."""
    if isinstance(history, TrialReview):
        return list(history.history)
    return read_history(history) if isinstance(history, Mapping) else list(history)


def curve(epochs: Sequence[int], values: Sequence[float], colour: str, name: str, **look: Any) -> Line | Points:
    """Return a curve over epochs, or a point where there is but one."""
    hover = [f"{name}, epoch {epoch}: {value:.4g}" for epoch, value in zip(epochs, values, strict=True)]
    if len(epochs) == 1:
        return Points(epochs, values, Marker(colour), name, hover)
    return Line(epochs, values, colour, name, hover, **look)


def _panel(quantity: Quantity, rect: Rect, epochs: list[int], tasks: list[str], across: str) -> Panel:
    title, unit, curves = quantity
    colours = {**task_colours(tasks), ALL: INK}
    marks = tuple(
        curve(epochs, values, colours[task], task, dash="dash" if task == ALL else "solid")
        for task, values in curves.items()
    )
    y = value_axis([value for values in curves.values() for value in values], unit)
    return Panel(rect, epoch_axis(epochs, across), y, marks, (title,))


def _losses(reports: Sequence[EpochReport]) -> Quantity:
    losses = {task: [report.task_losses[task] for report in reports] for task in reports[0].task_losses}
    return "training loss and objective", "nats per image", losses | {ALL: [report.loss for report in reports]}


def _error(reports: Sequence[EpochReport]) -> Quantity:
    scores = [scale_of(FRACTION) * report.score for report in reports]
    return "validation relative error", shown_unit(FRACTION), {ALL: scores}


def _metrics(reports: Sequence[EpochReport], shown: Collection[str], units: Mapping[str, str]) -> Iterator[Quantity]:
    """Yield all metrics of one name and unit together."""
    together: dict[tuple[str, str], list[str]] = {}
    for key in filter(shown.__contains__, reports[0].metrics):
        together.setdefault((key.rsplit("/", 1)[1], units.get(key, "")), []).append(key)
    for (name, unit), keys in together.items():
        values = {key.rsplit("/", 1)[0]: [scale_of(unit) * report.metrics[key] for report in reports] for key in keys}
        yield f"validation {name.replace('_', ' ')}", shown_unit(unit), values


def _weights(reports: Sequence[EpochReport]) -> Iterator[Quantity]:
    """Yield the weights of tasks, where they change."""
    if any(report.task_weights != reports[0].task_weights for report in reports):
        weights = {task: [report.task_weights[task] for report in reports] for task in reports[0].task_weights}
        yield "learned weight of the task's loss", "", weights
