"""The budget figure: what it took to reach a score."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.records import STRATEGIES
from sfgsearch.visualization._description import Axis, Figure, Line, Mark, Panel, Points, saying
from sfgsearch.visualization._layout import PAGE, FigureSize, Frame, Rect
from sfgsearch.visualization._scales import value_axis
from sfgsearch.visualization._style import KINDS, kind_marker, study_title
from sfgsearch.visualization._trials import error_of, kind_of

_HEIGHT = 320
_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class BudgetCurve:
    """The best relative error of a kind so far, after each of its trials that improved it and after the last.

    Args:
        kind: The kind.
        trials: Trials of the kind that were over by then.
        seconds: What these took together, pruned and failed ones too, whoever trained them; for refined ones with all
            learned trials, which they start from.
        errors: The lowest relative error so far, on the validation split.
        improved: Whether it was reached just then; False only for the end of the budget.
    """

    kind: str
    trials: tuple[int, ...]
    seconds: tuple[float, ...]
    errors: tuple[float, ...]
    improved: tuple[bool, ...]


def budget_curves(study: optuna.Study) -> list[BudgetCurve]:
    """Return the best score so far of each kind that has one.

    Trials count in the order in which they ended.

    Args:
        study: The study, in any storage.
    """
    trials = study.get_trials(deepcopy=False)
    return [curve for kind in STRATEGIES if (curve := _curve(kind, trials)) is not None]


def _curve(kind: str, trials: list[FrozenTrial]) -> BudgetCurve | None:
    over = _over(kind, trials)
    over.sort(key=lambda trial: (trial.datetime_complete, trial.number))
    best, seconds = float("inf"), sum(map(_seconds, _over("learned", trials))) if kind == "refined" else 0.0
    steps: list[tuple[int, float, float, bool]] = []
    for count, trial in enumerate(over, start=1):
        seconds += _seconds(trial)
        error = error_of(trial)
        if error is not None and error < best:
            best = error
            steps.append((count, seconds, best, True))
    if not steps:
        return None
    if steps[-1][0] < len(over):
        steps.append((len(over), seconds, best, False))
    counts, times, errors, improved = zip(*steps, strict=True)
    return BudgetCurve(kind, counts, times, errors, improved)


def _over(kind: str, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state in _OVER and trial.datetime_complete and kind_of(trial) == kind]


def _seconds(trial: FrozenTrial) -> float:
    return trial.duration.total_seconds() if trial.duration else 0.0


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit that suits times up to so many seconds, and its length in seconds."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return unit, length
    return "s", 1.0


def budget_figure(study: optuna.Study, *, size: FigureSize = PAGE) -> Figure:
    """Plot the best relative error so far of each kind against the training time and the trials that it took.

    Time is what the trials of a kind took together, pruned and failed ones too, whoever trained them.

    Args:
        study: The study, in any storage.
        size: Where it is shown.
    """
    curves, title = budget_curves(study), study_title(study.study_name, "what it took to reach a score")
    if not curves:
        return saying(title, "No trial is complete yet", size)
    unit, length = time_unit(max(curve.seconds[-1] for curve in curves))
    frame = Frame(size, legend=tuple(curve.kind for curve in curves))
    rects = frame.rects(2, [_HEIGHT])
    errors = [100 * error for curve in curves for error in curve.errors]
    left = value_axis(errors, "best relative error so far, %, validation")
    right = value_axis(errors, has_labels=False)
    times = [[seconds / length for seconds in curve.seconds] for curve in curves]
    counts = [list(map(float, curve.trials)) for curve in curves]
    panels = (
        _panel(rects[0], f"training time of the kind, {unit}", left, curves, times),
        _panel(rects[1], "trials of the kind", right, curves, counts),
    )
    return Figure(title, panels, frame.height([_HEIGHT]), size)


def _panel(rect: Rect, title: str, y: Axis, curves: list[BudgetCurve], spent: list[list[float]]) -> Panel:
    marks = list[Mark]()
    for curve, x in zip(curves, spent, strict=True):
        errors = [100 * error for error in curve.errors]
        hover = [f"{curve.kind}: {error:.3g} % after {at:.4g}" for at, error in zip(x, errors, strict=True)]
        steps = len(x) - (not curve.improved[-1])
        marks += [
            Points(x[:steps], errors[:steps], kind_marker(curve.kind), curve.kind, hover[:steps]),
            Line(x, errors, KINDS[curve.kind], curve.kind, is_step=True),
        ]
    return Panel(
        rect, value_axis([end for x in spent for end in x], title, is_log=False, starts_at_zero=True), y, tuple(marks)
    )
