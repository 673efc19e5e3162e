"""Finalists side by side: one panel per metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import mean_in_words, quantity_name, scale_of, shown_unit
from sfgsearch.comparison._rows import RELATIVE_ERROR, Row
from sfgsearch.tasks import FRACTION
from sfgsearch.visualization._study_marks import shortened


@dataclass(frozen=True)
class MetricPoint:
    """A finalist in one metric, as it is drawn: fractions in percent.

    Args:
        name: The finalist.
        kind: Its kind.
        inference: How it predicts; see :class:`sfgsearch.comparison.Row`.
        seeds: How many seeds.
        mean: The mean over seeds.
        low: Lower end of the 95 % interval; the mean for one seed.
        high: Upper end.
    """

    name: str
    kind: str
    inference: str
    seeds: int
    mean: float
    low: float
    high: float

    def written(self, unit: str) -> str:
        """Return the mean with half its interval and its unit as people read it."""
        return mean_in_words(self.mean, self.high - self.mean, unit, self.seeds)


@dataclass(frozen=True)
class MetricPanel:
    """One metric of all finalists.

    Args:
        key: ``"<task>/<metric>"`` or ``"relative_error"``.
        title: What people call it.
        unit: What it is drawn in; empty for plain numbers.
        higher_is_better: Whether large values are good; None if the metric does not say.
        points: The finalists that have it, in the order of the comparison.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool | None
    points: tuple[MetricPoint, ...]

    @property
    def axis(self) -> str:
        """The title of its axis: unit and direction."""
        direction = {True: "higher is better", False: "lower is better", None: ""}[self.higher_is_better]
        return ", ".join(filter(None, (self.unit, direction)))

    @property
    def brief(self) -> tuple[str, str]:
        """A title in two short lines: the task, and metric, unit and direction."""
        task, _, metric = self.key.rpartition("/")
        direction = {True: "↑", False: "↓", None: ""}[self.higher_is_better]
        measured = ", ".join(filter(None, (metric if task else "", self.unit)))
        return task or self.title, f"{measured} {direction}".strip()


def comparison_panels(comparison: Comparison, metrics: Sequence[str] | None = None) -> list[MetricPanel]:
    """Return the panels of a comparison: the relative error, then the tasks' main metrics.

    Args:
        comparison: The comparison.
        metrics: Keys of the metrics to show instead of the main ones.
    """
    if not comparison.shown:
        return []
    first = comparison.shown[0]
    keys = first.headline if metrics is None else metrics
    error = MetricPanel(
        RELATIVE_ERROR,
        quantity_name(RELATIVE_ERROR),
        shown_unit(FRACTION),
        False,
        tuple(_point(row, RELATIVE_ERROR, FRACTION) for row in comparison.shown),
    )
    return [error, *(_panel(comparison, key) for key in keys)]


def which_finalists(comparison: Comparison) -> str:
    """Return in words which finalists the panels show."""
    return "finalists on test data" if comparison.matched_to is None else "finalists at equal multiply-adds"


def panel_titles(panels: Sequence[MetricPanel], letters: int) -> list[tuple[str, str]]:
    """Return titles in two lines, all of them quantity and axis, or brief ones where these are too long.

    Args:
        panels: The panels.
        letters: How many there is room for in a line.
    """
    whole = [(panel.title, panel.axis) for panel in panels]
    if max(len(line) for title in whole for line in title) <= letters:
        return whole
    return [(shortened(panel.brief[0], letters), shortened(panel.brief[1], letters)) for panel in panels]


def one_metric_each(comparison: Comparison) -> list[str]:
    """Return the first main metric of every task, for where there is little room."""
    first: dict[str, str] = {}
    for row in comparison.shown[:1]:
        for key in row.headline:
            first.setdefault(key.rsplit("/", 1)[0], key)
    return list(first.values())


def _panel(comparison: Comparison, key: str) -> MetricPanel:
    rows = [row for row in comparison.shown if key in row.metrics]
    unit = next((row.units[key] for row in rows if key in row.units), "")
    better = next((row.higher_is_better[key] for row in rows if key in row.higher_is_better), None)
    points = tuple(_point(row, key, unit) for row in rows)
    return MetricPanel(key, quantity_name(key), shown_unit(unit), better, points)


def _point(row: Row, key: str, unit: str) -> MetricPoint:
    value, scale = row.error if key == RELATIVE_ERROR else row.metrics[key], scale_of(unit)
    ends = (scale * value.mean, scale * value.low, scale * value.high)
    return MetricPoint(row.name, row.strategy, row.inference, row.seeds, *ends)
