"""What it took to reach a score."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.records import STRATEGIES
from sfgsearch.visualization.data._trials import error_of, kind_of

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
