"""Losses and metrics over the epochs of a training."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sfgsearch.comparison._formats import scale_of, shown_unit
from sfgsearch.tasks import FRACTION
from sfgsearch.training import EpochReport
from sfgsearch.visualization.data._trajectories import History, reports_of
from sfgsearch.visualization.data._trial_review import TrialReview

ALL = "all tasks"
"""What curves are called that belong to no single task."""


@dataclass(frozen=True)
class Curve:
    """Values over epochs.

    Args:
        task: Its task, or :data:`ALL`.
        values: One per epoch.
    """

    task: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class CurvePanel:
    """Curves that share an axis.

    Args:
        title: What they show.
        unit: The unit of the values, which may be empty.
        curves: The curves.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Curves:
    """The course of a training.

    Args:
        tasks: The tasks, in order.
        epochs: Epochs trained, from one.
        panels: What is drawn.
    """

    tasks: tuple[str, ...]
    epochs: tuple[int, ...]
    panels: tuple[CurvePanel, ...]


def curves(history: History, units: Mapping[str, str] | None = None, metrics: Collection[str] | None = None) -> Curves:
    """Return losses, relative error, metrics and, where they are learned, weights of tasks over epochs.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.
        units: Units by ``"<task>/<metric>"``; those of the trial if None. What has no unit is a plain number.
        metrics: Metrics ``"<task>/<metric>"`` that are shown; those of the trial's headline, or all, if None.
    """
    reports = reports_of(history)
    if isinstance(history, TrialReview):
        units = history.units if units is None else units
        metrics = history.headline or None if metrics is None else metrics
    if not reports:
        return Curves((), (), ())
    tasks = tuple(reports[0].task_losses)
    shown = [key for key in reports[0].metrics if metrics is None or key in metrics]
    panels = (_losses(reports, tasks), _error(reports), *_metrics(reports, shown, units or {}), *_weights(reports))
    return Curves(tasks, tuple(report.epoch + 1 for report in reports), panels)


def _losses(reports: Sequence[EpochReport], tasks: Sequence[str]) -> CurvePanel:
    objective = Curve(ALL, tuple(report.loss for report in reports))
    losses = (Curve(task, tuple(report.task_losses[task] for report in reports)) for task in tasks)
    return CurvePanel("training loss and objective", "nats per image", (*losses, objective))


def _error(reports: Sequence[EpochReport]) -> CurvePanel:
    scores = tuple(scale_of(FRACTION) * report.score for report in reports)
    return CurvePanel("validation relative error", shown_unit(FRACTION), (Curve(ALL, scores),))


def _metrics(reports: Sequence[EpochReport], keys: Sequence[str], units: Mapping[str, str]) -> Iterator[CurvePanel]:
    """Yield a panel for all metrics of one name and unit."""
    together: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        together.setdefault((key.rsplit("/", 1)[1], units.get(key, "")), []).append(key)
    for (name, unit), members in together.items():
        found = (
            Curve(key.rsplit("/", 1)[0], tuple(scale_of(unit) * report.metrics[key] for report in reports))
            for key in members
        )
        yield CurvePanel(f"validation {name.replace('_', ' ')}", shown_unit(unit), tuple(found))


def _weights(reports: Sequence[EpochReport]) -> Iterator[CurvePanel]:
    """Yield the weights of tasks, where they change."""
    if any(report.task_weights != reports[0].task_weights for report in reports):
        names = reports[0].task_weights
        found = (Curve(task, tuple(report.task_weights[task] for report in reports)) for task in names)
        yield CurvePanel("learned weight of the task's loss", "", tuple(found))
