"""Finalists side by side: one panel per metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfgsearch.reporting import Comparison
from sfgsearch.reporting._comparison import RELATIVE_ERROR, Row
from sfgsearch.reporting._formats import quantity_name, scale_of, shown_unit
from sfgsearch.tasks import FRACTION


@dataclass(frozen=True)
class MetricPoint:
    """A finalist in one metric, as it is drawn: fractions in percent.

    Args:
        name: The finalist.
        kind: Its kind.
        inference: ``"retrained"``, ``"derived"`` or ``"monte_carlo"``.
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


def comparison_panels(comparison: Comparison, metrics: Sequence[str] | None = None) -> list[MetricPanel]:
    """Return the panels of a comparison: the relative error, then the tasks' main metrics.

    Args:
        comparison: The comparison.
        metrics: Keys of the metrics to show instead of the main ones.
    """
    if not comparison.rows:
        return []
    first = comparison.rows[0]
    keys = first.headline if metrics is None else metrics
    error = MetricPanel(
        RELATIVE_ERROR,
        quantity_name(RELATIVE_ERROR),
        shown_unit(FRACTION),
        False,
        tuple(_point(row, RELATIVE_ERROR, FRACTION) for row in comparison.rows),
    )
    return [error, *(_panel(comparison, key) for key in keys)]


def one_metric_each(comparison: Comparison) -> list[str]:
    """Return the first main metric of every task, for where there is little room."""
    first: dict[str, str] = {}
    for row in comparison.rows[:1]:
        for key in row.headline:
            first.setdefault(key.rsplit("/", 1)[0], key)
    return list(first.values())


def _panel(comparison: Comparison, key: str) -> MetricPanel:
    rows = [row for row in comparison.rows if key in row.metrics]
    unit = next((row.units[key] for row in rows if key in row.units), "")
    better = next((row.higher_is_better[key] for row in rows if key in row.higher_is_better), None)
    points = tuple(_point(row, key, unit) for row in rows)
    return MetricPanel(key, quantity_name(key), shown_unit(unit), better, points)


def _point(row: Row, key: str, unit: str) -> MetricPoint:
    value, scale = row.error if key == RELATIVE_ERROR else row.metrics[key], scale_of(unit)
    ends = (scale * value.mean, scale * value.low, scale * value.high)
    return MetricPoint(row.name, row.kind, row.inference, row.seeds, *ends)
