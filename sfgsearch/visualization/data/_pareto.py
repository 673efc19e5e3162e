"""Accuracy against multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from sfgsearch.comparison import Comparison
from sfgsearch.comparison._formats import mean_in_words, quantity_name, scale_of, shown_unit
from sfgsearch.comparison._rows import RELATIVE_ERROR
from sfgsearch.tasks import FRACTION
from sfgsearch.visualization.data._labels import Label, fractions, place_labels
from sfgsearch.visualization.data._scales import spans_decades
from sfgsearch.visualization.data._trials import error_of, kind_of, name_of


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
class Cloud:
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
        """What the legend calls the front."""
        return f"Pareto front of {'finalists' if self.is_of_finalists else 'trials'}"

    def labels(self, width: float, height: float) -> list[Label]:
        """Return where the names of finalists stand, in a figure of so many pixels."""
        points = [*self.finalists, *self.trials]
        x = fractions([point.macs for point in points], is_log=self.has_log_macs)
        y = fractions([point.value for point in points], is_log=self.has_log_values)
        return place_labels([point.name for point in self.finalists], list(zip(x, y, strict=True)), width, height)

    @property
    def has_log_macs(self) -> bool:
        """Whether multiply-adds span a decade."""
        return spans_decades(point.macs for point in (*self.trials, *self.finalists))

    @property
    def has_log_values(self) -> bool:
        """Whether the quantity spans a decade, its intervals too where they stay above zero."""
        points = (*self.trials, *self.finalists)
        return all(point.low > 0 for point in points) and spans_decades(point.value for point in points)


def pareto_cloud(study: optuna.Study, comparison: Comparison | None = None, metric: str | None = None) -> Cloud:
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
    return Cloud(
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
