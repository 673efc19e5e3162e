"""The tuning figure: what tuning the parameters of a strategy did."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from sfgsearch.records import Strategy
from sfgsearch.visualization._description import GREY, UNIT, Axis, Bars, Figure, Panel, Points, Text, row_axis, saying
from sfgsearch.visualization._layout import LETTER, PAGE, FigureSize, Frame, Rect, label_width, shortened
from sfgsearch.visualization._scales import value_axis
from sfgsearch.visualization._style import KINDS, kind_marker, study_title
from sfgsearch.visualization._trials import error_of, kind_of

_COLUMNS, _BAR, _SLICE = 3, 20, 150

FEWEST_TRIALS = 10
"""Trials, all or those that have a parameter, below which no importance is told: it would be luck."""


@dataclass(frozen=True)
class ParameterSlice:
    """All trials of a strategy that a parameter was drawn for.

    Args:
        name: The parameter, without the strategy that it begins with.
        values: What was drawn; words for categories.
        errors: Relative errors of the trials, on the validation split.
        numbers: Numbers of the trials.
        is_category: Whether the values are words.
        is_log: Whether it was drawn on a logarithmic scale.
    """

    name: str
    values: tuple[Any, ...]
    errors: tuple[float, ...]
    numbers: tuple[int, ...]
    is_category: bool
    is_log: bool

    @property
    def categories(self) -> list[str]:
        """The words that occur, sorted."""
        return sorted(set(self.values)) if self.is_category else []


@dataclass(frozen=True)
class Tuning:
    """Trials of a strategy by the parameters that Optuna tuned.

    Args:
        strategy: The strategy.
        trials: How many of its trials are complete.
        importances: Importance by parameter, largest first, of those that enough trials have; None where there are
            too few trials, empty where nothing was tuned.
        slices: Parameters by importance, then those without by name.
    """

    strategy: str
    trials: int
    importances: dict[str, float] | None
    slices: tuple[ParameterSlice, ...]

    @property
    def remark(self) -> str:
        """A caveat for readers of the importances."""
        if not self.slices:
            return f"No parameter of {self.strategy} trials was tuned" + ("" if self.trials else ": there are none yet")
        if self.importances is None:
            return f"Too few {self.strategy} trials to tell importances: {self.trials} of at least {FEWEST_TRIALS}"
        rare = len(self.slices) - len(self.importances)
        left_out = f", without {rare} that fewer than {FEWEST_TRIALS} have" if rare else ""
        return f"PED-ANOVA over {self.trials} {self.strategy} trials{left_out}"


def tuning(study: optuna.Study, strategy: Strategy = "learned") -> Tuning:
    """Return what tuning did among the trials of a strategy.

    Importances are those of PED-ANOVA (Watanabe et al., IJCAI 2023) in Optuna, which also judges parameters that only
    some trials have, such as the end of a temperature schedule.

    Args:
        study: The study, in any storage.
        strategy: Whose trials.
    """
    prefix = f"{strategy}."
    judged = [
        (trial, error)
        for trial in study.get_trials(deepcopy=False)
        if kind_of(trial) == strategy and (error := error_of(trial)) is not None
    ]
    slices = _slices(judged, prefix)
    known = [one.name for one in slices if len(one.values) >= FEWEST_TRIALS]
    if not known:
        return Tuning(strategy, len(judged), None if slices else {}, tuple(slices))
    importances = _importances(judged, prefix, known)
    slices.sort(key=lambda one: -importances.get(one.name, -1.0))
    ordered = {one.name: importances[one.name] for one in slices if one.name in importances}
    return Tuning(strategy, len(judged), ordered, tuple(slices))


def _slices(judged: list[tuple[FrozenTrial, float]], prefix: str) -> list[ParameterSlice]:
    names = sorted({name for trial, _ in judged for name in trial.params if name.startswith(prefix)})
    slices = []
    for name in names:
        having = [(trial, error) for trial, error in judged if name in trial.params]
        distribution = having[-1][0].distributions[name]
        if distribution.single():
            continue
        is_category = isinstance(distribution, CategoricalDistribution)
        slices.append(
            ParameterSlice(
                name.removeprefix(prefix),
                tuple(_word(trial.params[name]) if is_category else trial.params[name] for trial, _ in having),
                tuple(error for _, error in having),
                tuple(trial.number for trial, _ in having),
                is_category,
                _is_log(distribution),
            )
        )
    return slices


def _is_log(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _importances(judged: list[tuple[FrozenTrial, float]], prefix: str, names: list[str]) -> dict[str, float]:
    """Return the importances in a study of these trials alone, where all else would be a matter of the kind."""
    from optuna.importance import get_param_importances  # takes a second to load: it brings scikit-learn

    params = [prefix + name for name in names]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # of a study that nobody sees
    try:
        alone = optuna.create_study(direction="minimize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    alone.add_trials(
        [
            create_trial(
                params={name: trial.params[name] for name in params if name in trial.params},
                distributions={name: trial.distributions[name] for name in params if name in trial.params},
                value=error,
            )
            for trial, error in judged
        ]
    )
    found = get_param_importances(alone, params=params)
    return {name.removeprefix(prefix): float(value) for name, value in found.items()}


def tuning_importances_figure(
    study: optuna.Study, *, strategy: Strategy = "learned", slices: int | None = None, size: FigureSize = PAGE
) -> Figure:
    """Plot what tuning did over the trials of one strategy, such as that of temperature, KL weight and prior.

    On top the importance of every tuned parameter, where there are enough trials to tell; below the relative error
    against each of them.

    Args:
        study: The study, in any storage.
        strategy: Whose trials; shares of filters, or their curve over depth, are what searched ones tune.
        slices: How many parameters to show below, the most important ones; all if None.
        size: Where it is shown.
    """
    found = tuning(study, strategy)
    title, shown = study_title(study.study_name, f"what tuning did among {strategy} trials"), found.slices[:slices]
    if not shown:
        return saying(title, found.remark, size)
    columns = min(_COLUMNS, len(shown))
    bars = _BAR * len(found.importances) + 10 if found.importances else 8
    heights = [float(bars), *[float(_SLICE)] * -(-len(shown) // columns)]
    frame = Frame(size, left=max(label_width(found.importances or []), 62), foot=56, top=8)
    first, *rects = frame.rects(columns, heights)
    panels = [_importance_panel(found, first._replace(width=frame.width(1)))]
    errors = [100 * error for one in shown for error in one.errors]
    for index, (one, rect) in enumerate(zip(shown, rects[columns - 1 :], strict=False)):
        y = value_axis(errors, "" if index % columns else "relative error, %", has_labels=not index % columns)
        panels.append(_slice_panel(one, rect, y, strategy))
    return Figure(title, tuple(panels), frame.height(heights), size)


def _importance_panel(found: Tuning, rect: Rect) -> Panel:
    if not found.importances:
        words = Text(0, 0, found.remark, horizontal="left", size=13, colour=GREY, is_relative=True)
        return Panel(rect, UNIT, UNIT, (words,), frame="none")
    values = [100 * value for value in found.importances.values()]
    hover = [f"{name}: {value:.3g} %" for name, value in zip(found.importances, values, strict=True)]
    ends = [(0.0, value) for value in values]
    rows = [(row - 0.4, row + 0.4) for row in range(len(values))]
    title = "\n".join(textwrap.wrap(f"importance, % ({found.remark})", int(rect.width / LETTER)))
    x = value_axis(values, title, is_log=False, starts_at_zero=True)
    return Panel(rect, x, row_axis(list(found.importances)), (Bars(ends, rows, KINDS[found.strategy], hover=hover),))


def _slice_panel(one: ParameterSlice, rect: Rect, y: Axis, strategy: str) -> Panel:
    hover = [
        f"trial {number}, {value}\n{100 * error:.3g} %"
        for number, value, error in zip(one.numbers, one.values, one.errors, strict=True)
    ]
    words = one.categories
    x = [float(words.index(value)) for value in one.values] if one.is_category else list(one.values)
    points = Points(x, [100 * error for error in one.errors], kind_marker(strategy, opacity=0.6), hover=hover)
    title = shortened(one.name, int(rect.width / LETTER))
    if one.is_category:
        letters = max(int(rect.width / len(words) / LETTER) - 1, 3)
        ticks = tuple((float(index), shortened(word, letters)) for index, word in enumerate(words))
        return Panel(rect, Axis((-0.5, len(words) - 0.5), title, ticks), y, (points,))
    return Panel(rect, value_axis(x, title, is_log=one.is_log, length=rect.width), y, (points,))
