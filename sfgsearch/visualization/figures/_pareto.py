"""The Pareto figure: accuracy against multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import optuna

from sfgsearch._choices import FRACTION
from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import mean_in_words, quantity_name, scale_of, shown_unit, thousands
from sfgsearch.comparison._rows import RELATIVE_ERROR
from sfgsearch.records import STRATEGIES
from sfgsearch.visualization._description import INK, Axis, Figure, Line, Panel, Points, Text, saying
from sfgsearch.visualization._labels import place_names
from sfgsearch.visualization._layout import PAGE, FigureSize, Frame
from sfgsearch.visualization._scales import fraction, spans_decades, value_axis
from sfgsearch.visualization._style import KINDS_AND_INFERENCES, kind_label, kind_marker, study_title
from sfgsearch.visualization._trials import error_of, kind_of, name_of

_HEIGHT = 420


@dataclass(frozen=True)
class ParetoPoint:
    """A network: what it costs and how good it is.

    Args:
        name: What it is called.
        kind: Its kind.
        inference: How a finalist predicts; ``"retrained"`` for trials.
        macs: Multiply-adds for one image.
        value: The quantity; fractions in percent.
        low: Lower end of the 95 % interval over seeds; the value itself for trials.
        high: Upper end.
        seeds: Seeds that the value is a mean of.
    """

    name: str
    kind: str
    inference: str
    macs: int
    value: float
    low: float
    high: float
    seeds: int

    def written(self, unit: str) -> str:
        """Return the quantity with half its interval and its unit as people read it."""
        return mean_in_words(self.value, self.high - self.value, unit, self.seeds)


@dataclass(frozen=True)
class ParetoData:
    """Trials and finalists by multiply-adds and one quantity.

    Args:
        title: The quantity.
        unit: Its unit as drawn; empty for plain numbers.
        higher_is_better: Whether large values are good.
        trials: Completed trials, on the validation split.
        finalists: Finalists at the study's width, on the test split.
        front: The points that no other one beats in both, by multiply-adds: finalists, or trials where there are none.
        is_of_finalists: Whether the front is one of finalists.
    """

    title: str
    unit: str
    higher_is_better: bool
    trials: tuple[ParetoPoint, ...]
    finalists: tuple[ParetoPoint, ...]
    front: tuple[ParetoPoint, ...]
    is_of_finalists: bool

    @property
    def axis(self) -> str:
        """The title of the quantity's axis: name, unit and direction."""
        better = "higher is better" if self.higher_is_better else "lower is better"
        return ", ".join(filter(None, (self.title, self.unit, better)))

    @property
    def front_name(self) -> str:
        """Name of the front in the legend."""
        return f"Pareto front of {'finalists' if self.is_of_finalists else 'trials'}"

    @property
    def has_log_values(self) -> bool:
        """Whether the quantity spans a decade, its intervals too where they stay above zero."""
        points = (*self.trials, *self.finalists)
        return all(point.low > 0 for point in points) and spans_decades(point.value for point in points)


def pareto_data(study: optuna.Study, comparison: Comparison | None = None, metric: str | None = None) -> ParetoData:
    """Return trials and finalists by multiply-adds and relative error, or another quantity.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, where there are any.
        metric: ``"<task>/<metric>"``, one of the comparison's main metrics; the mean relative error if None.

    Raises:
        ValueError: If the comparison has no such metric, or that does not say whether large values are good.
    """
    rows = comparison.native if comparison else []  # the others have equal multiply-adds
    unit, higher_is_better = FRACTION, False
    if metric is not None:
        known = {key: row.higher_is_better[key] for row in rows for key in row.higher_is_better}
        if metric not in known:
            raise ValueError(f"metric must be one of {', '.join(known) or 'no finalist yet'}, got {metric!r}")
        unit, higher_is_better = rows[0].units[metric], known[metric]
    scale, trials = scale_of(unit), []
    for trial in study.get_trials(deepcopy=False):
        error, macs = error_of(trial), trial.user_attrs.get("macs")
        value = error if metric is None else trial.user_attrs.get(f"validation/{metric}")
        if error is not None and value is not None and macs and math.isfinite(value):
            scaled = scale * float(value)
            trials.append(
                ParetoPoint(name_of(trial), kind_of(trial), "retrained", int(macs), scaled, scaled, scaled, 1)
            )
    finalists = []
    for row in rows:
        found = row.error if metric is None else row.metrics.get(metric)
        if found is not None and math.isfinite(found.mean):
            ends = (scale * found.mean, scale * found.low, scale * found.high)
            finalists.append(ParetoPoint(row.name, row.strategy, row.inference, row.macs, *ends, row.seeds))
    front = pareto_front(finalists or trials, higher_is_better=higher_is_better)
    title = quantity_name(metric or RELATIVE_ERROR)
    return ParetoData(
        title, shown_unit(unit), higher_is_better, tuple(trials), tuple(finalists), tuple(front), bool(finalists)
    )


def pareto_front(points: Sequence[ParetoPoint], *, higher_is_better: bool) -> list[ParetoPoint]:
    """Return the points that no other one beats in cost and quality both, the cheapest first."""
    sign = -1 if higher_is_better else 1
    front: list[ParetoPoint] = []
    for point in sorted(points, key=lambda point: (point.macs, sign * point.value)):
        if not front or sign * point.value < sign * front[-1].value:
            front.append(point)
    return front


def pareto_figure(
    study: optuna.Study, comparison: Comparison | None = None, *, metric: str | None = None, size: FigureSize = PAGE
) -> Figure:
    """Plot quality against multiply-adds: trials faintly, named finalists with 95 % intervals, and the Pareto front.

    Trials are measured on the validation split with one seed, finalists on the test split over several; the front is
    one of finalists, or of trials as long as there are none. All have the study's width.

    Args:
        study: The study, in any storage.
        comparison: Its finalists, where there are any.
        metric: A main metric ``"<task>/<metric>"`` of the comparison instead of the mean relative error.
        size: Where it is shown.

    Raises:
        ValueError: If the comparison has no such metric.
    """
    data = pareto_data(study, comparison, metric)
    title = study_title(study.study_name, f"{data.title} against multiply-adds")
    if not data.front:
        return saying(title, "No trial is complete yet", size)
    marks: list[Line | Points] = [*_front(data), *_trials(data), *_finalists(data)]
    frame = Frame(size, legend=tuple(mark.name for mark in marks))
    points = (*data.trials, *data.finalists)
    (rect,) = frame.rects(1, [_HEIGHT])
    x = value_axis([point.macs for point in points], "multiply-adds for one image", length=rect.width)
    ends = [end for point in points for end in (point.low, point.high)]
    y = value_axis(ends, data.axis, is_log=data.has_log_values)
    names = [] if size.is_tight else _names(data, x, y, rect.width, rect.height)
    return Figure(title, (Panel(rect, x, y, (*marks, *names)),), frame.height([_HEIGHT]), size)


def _front(data: ParetoData) -> list[Line]:
    macs, values = [point.macs for point in data.front], [point.value for point in data.front]
    return [Line(macs, values, INK, data.front_name, width=1.5, dash="dot")] if len(data.front) > 1 else []


def _trials(data: ParetoData) -> Iterator[Points]:
    for kind in STRATEGIES:
        if points := [point for point in data.trials if point.kind == kind]:
            hover = [f"{_what(one)}\n{one.value:.4g} {data.unit}, validation, one seed" for one in points]
            macs, values = [point.macs for point in points], [point.value for point in points]
            yield Points(macs, values, kind_marker(kind, size=7, opacity=0.3), f"{kind} trials", hover)


def _finalists(data: ParetoData) -> Iterator[Points]:
    for pair in KINDS_AND_INFERENCES:
        if points := [point for point in data.finalists if (point.kind, point.inference) == pair]:
            yield Points(
                [point.macs for point in points],
                [point.value for point in points],
                kind_marker(*pair, size=11),
                kind_label(*pair),
                [f"{_what(point)}\n{point.written(data.unit)}, test" for point in points],
                y_errors=[point.high - point.value for point in points],
            )


def _what(point: ParetoPoint) -> str:
    return f"{point.name}, {thousands(point.macs)} multiply-adds"


def _names(data: ParetoData, x: Axis, y: Axis, width: float, height: float) -> list[Text]:
    """Return the names of finalists, clear of points, the front and intervals as far as that can be."""

    def at(macs: float, value: float) -> tuple[float, float]:
        return fraction(macs, x), fraction(value, y)

    points = [at(point.macs, point.value) for point in (*data.finalists, *data.trials)]
    front = [at(point.macs, point.value) for point in data.front]
    intervals = [(at(point.macs, point.low), at(point.macs, point.high)) for point in data.finalists]
    names = [point.name for point in data.finalists]
    texts = place_names(names, points, [*pairwise(front), *intervals], width, height)
    return [replace(text, x=point.macs, y=point.value) for text, point in zip(texts, data.finalists, strict=True)]
