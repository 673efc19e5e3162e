"""The comparison figure: finalists side by side, one panel per metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfgsearch._choices import FRACTION
from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import mean_in_words, quantity_name, scale_of, shown_unit
from sfgsearch.comparison._rows import RELATIVE_ERROR, Row
from sfgsearch.visualization._description import Axis, Figure, Panel, Points, row_axis, saying
from sfgsearch.visualization._layout import BOLD_LETTER, LINE, PAGE, FigureSize, Frame, Rect, label_width, shortened
from sfgsearch.visualization._scales import value_axis
from sfgsearch.visualization._style import KINDS_AND_INFERENCES, kind_label, kind_marker, study_title

_COLUMNS, _ROW = 3, 24
_LONG_NAME, _SHORT_NAME = 28, 22
"""Letters of a name that there is room for on a page and on a card."""


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


def comparison_figure(
    comparison: Comparison, *, metrics: Sequence[str] | None = None, size: FigureSize = PAGE
) -> Figure:
    """Plot finalists against each other: the relative error and the tasks' main metrics, with 95 % intervals.

    Learned finalists have up to three marks: filled, their allocation retrained from scratch, which is what kinds are
    compared by; hollow, the derived network as it was learned; dotted, its Monte-Carlo prediction.

    Args:
        comparison: What :func:`sfgsearch.reporting.compare` returns.
        metrics: Keys ``"<task>/<metric>"`` to show instead of the main ones.
        size: Where it is shown.
    """
    what = "finalists on test data" if comparison.matched_to is None else "finalists at equal multiply-adds"
    what += "" if size.is_tight else ", mean and 95 % interval over seeds"
    title, panels = study_title(comparison.study, what), comparison_panels(comparison, metrics)
    if not panels:
        return saying(title, "No finalist yet", size)
    order = [point.name for point in panels[0].points]
    names = [shortened(name, _SHORT_NAME if size.is_tight else _LONG_NAME) for name in order]
    columns = min(_COLUMNS, len(panels))
    heights = [_ROW * len(names) + 16.0] * -(-len(panels) // columns)
    legend = tuple(kind_label(*pair) for pair in _used(panels[0].points))
    frame = Frame(size, legend, left=label_width(names), top=2 * LINE + 12, foot=30)
    titles = panel_titles(panels, int((frame.width(columns) + frame.gap) // BOLD_LETTER))
    rects = frame.rects(columns, heights)
    shown = tuple(
        _draw(
            panel, rects[index], titles[index], order, row_axis(names, has_labels=index % columns == 0, has_grid=True)
        )
        for index, panel in enumerate(panels)
    )
    return Figure(title, shown, frame.height(heights), size)


def _used(points: Sequence[MetricPoint]) -> list[tuple[str, str]]:
    present = {(point.kind, point.inference) for point in points}
    return [pair for pair in KINDS_AND_INFERENCES if pair in present]


def _draw(panel: MetricPanel, rect: Rect, heading: tuple[str, str], order: list[str], y: Axis) -> Panel:
    ends = [end for point in panel.points for end in (point.low, point.high)]
    marker = min(max(int(rect.height / len(order)) - 2, 5), 10)
    marks = []
    for pair in _used(panel.points):
        points = [point for point in panel.points if (point.kind, point.inference) == pair]
        marks.append(
            Points(
                [point.mean for point in points],
                [order.index(point.name) for point in points],
                kind_marker(*pair, size=marker),
                kind_label(*pair),
                [f"{point.name}, {point.seeds} seeds\n{point.written(panel.unit)}" for point in points],
                x_errors=[point.high - point.mean for point in points],
            )
        )
    x = value_axis(ends, is_log=False, length=rect.width)
    return Panel(rect, x, y, tuple(marks), heading)
