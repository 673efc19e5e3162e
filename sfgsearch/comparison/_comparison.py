"""The comparison of learned, searched and manual architectures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.comparison._formats import duration
from sfgsearch.comparison._paired import PairedTest
from sfgsearch.comparison._rows import CONTROLS, RELATIVE_ERROR, RETRAINED, Row, comparison_rows, rank
from sfgsearch.comparison._shortfall import Shortfall
from sfgsearch.comparison._statistics import Interval
from sfgsearch.comparison._verdicts import basis, paired_tests, verdict
from sfgsearch.records import STRATEGIES, ArchitectureRecord
from sfgsearch.search._attributes import strategy_of_trial


@dataclass(frozen=True)
class Spent:
    """Cost of the trials of a kind.

    Args:
        trials: Finished ones: complete, pruned or failed.
        seconds: Their wall-clock time.
    """

    trials: int
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """All finalists of a study.

    Args:
        study: The study's name.
        rows: All finalists, see :func:`sfgsearch.comparison._rows.comparison_rows`.
        spent: What the trials of each strategy cost; refined ones only where there are any.
        shortfall: What the study asks for and does not have.
        matched_to: Multiply-adds at which kinds are compared; None if the study compares them at its own width.
    """

    study: str
    rows: list[Row]
    spent: dict[str, Spent]
    shortfall: Shortfall = field(default_factory=Shortfall)
    matched_to: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``sfgsearch compare --json`` prints."""
        return {
            "study": self.study,
            "rows": [
                {
                    "kind": row.kind,
                    "name": row.name,
                    "inference": row.inference,
                    "trial": row.trial,
                    "seeds": row.seeds,
                    "metrics": {key: _plain(value) for key, value in row.metrics.items()},
                    "relative_error": _plain(row.error),
                    "parameters": row.parameters,
                    "macs": row.macs,
                    "width": row.width,
                    "matched": row.matched,
                }
                for row in self.rows
            ],
            "spent": {
                strategy: {
                    "trials": spent.trials,
                    "seconds": round(spent.seconds, 1),
                    "of_learned_time": self.time_ratio(strategy),
                }
                for strategy, spent in self.spent.items()
            },
            "tests": [test.to_dict() for test in self.tests],
            **self.shortfall.to_dict(),
        }

    @cached_property
    def compared(self) -> list[Row]:
        """The finalists that verdicts are about: at equal multiply-adds, or at the study's width if none are matched.

        By strategy, then by relative error on the validation split.
        """
        retrained = [row for row in self.rows if row.inference in (RETRAINED, *CONTROLS)]
        if self.matched_to is not None:
            retrained = [row for row in retrained if row.is_scaled or row.matched]
        return sorted(retrained, key=lambda row: (*rank(row), row.validation_error))

    @cached_property
    def native(self) -> list[Row]:
        """The finalists at the study's width, with all ways to predict."""
        return [row for row in self.rows if not row.is_scaled]

    @cached_property
    def shown(self) -> list[Row]:
        """The finalists of a figure: those that are compared, and beside them the other ways to predict."""
        rows = [*self.compared, *(row for row in self.native if row.inference not in (RETRAINED, *CONTROLS))]
        return sorted(rows, key=rank)

    @cached_property
    def best(self) -> dict[str, Row]:
        """The retrained finalist of each strategy with the lowest relative error on the validation split."""
        best = {row.strategy: row for row in reversed(self.compared) if row.inference == RETRAINED}
        return {strategy: best[strategy] for strategy in STRATEGIES if strategy in best}

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies of the study: the kinds, and refined trials where there are any."""
        return tuple(strategy for strategy in STRATEGIES if strategy != "refined" or strategy in self.spent)

    def time_ratio(self, strategy: str) -> float | None:
        """Return the training time of a strategy's trials as a ratio to that of learned ones.

        Refined trials also cost the learned ones that they start from. None where no learned trial is over.
        """
        learned = self.spent["learned"].seconds if "learned" in self.spent else 0.0
        seconds = self.spent[strategy].seconds + (learned if strategy == "refined" else 0.0)
        return round(seconds / learned, 3) if learned else None

    def costs(self) -> Iterator[str]:
        """Yield what the trials of each strategy cost, with what tells whether times were equal."""
        for strategy, spent in self.spent.items():
            if not spent.trials:
                continue
            ratio, ending = self.time_ratio(strategy), ""
            if ratio is not None and strategy in ("searched", "refined"):
                also = ", the learned trials that it starts from included" if strategy == "refined" else ""
                ending = f" ({ratio:.2f} of the learned time{also})"
            plural = "" if spent.trials == 1 else "s"
            yield f"{strategy} {spent.trials} trial{plural} in {duration(spent.seconds)}{ending}"

    @cached_property
    def tests(self) -> list[PairedTest]:
        """The tests of the best learned and the best searched finalist; see :func:`paired_tests`."""
        return paired_tests(self.compared, self.best)

    def verdicts(self) -> list[str]:
        """Return sentences: how the best learned and the best searched finalist stand, and on what that rests.

        A sentence says what failed for good and is missing from its comparison.
        """
        found = []
        for kind in self.best:
            if tests := self.tests_of(kind):
                lost = self.without(*{kind, *(test.second[0] for test in tests)})
                found.append(f"{verdict(tests)}{f', {lost}' if lost else ''}.")
        found += [f"No verdict on {kind}: {without}." for kind, without in self.undecided.items()]
        return found + ([basis(self.compared, self.tests, self.matched_to)] if self.tests else [])

    def tests_of(self, kind: str) -> list[PairedTest]:
        """Return the tests of the relative error of the best of a kind against others."""
        return [test for test in self.tests if test.first[0] == kind and test.quantity == RELATIVE_ERROR]

    def without(self, *kinds: str) -> str:
        """Return in words what failed for good and is missing from a comparison of kinds; empty if nothing is."""
        return self.shortfall.without(kinds, {row.trial for row in self.rows if row.inference == RETRAINED})

    @cached_property
    def undecided(self) -> dict[str, str]:
        """The kinds that will have no finalist since their candidates failed for good, with which ones these are."""
        if self.shortfall.is_unfinished:
            return {}
        lacking = {kind: self.without(kind) for kind in STRATEGIES if kind not in self.best}
        return {kind: without for kind, without in lacking.items() if without}


def _plain(value: Interval) -> dict[str, Any]:
    return {"mean": value.mean, "ci95": [value.low, value.high]}


def compare(
    study: str,
    finalists: Sequence[ArchitectureRecord],
    trials: Sequence[FrozenTrial],
    shortfall: Shortfall | None = None,
    macs: int | None = None,
    *,
    matched: bool = False,
) -> Comparison:
    """Compare the finalists of a study.

    Args:
        study: The study's name.
        finalists: Their records, of any role but ``"trial"``.
        trials: All trials of the study, for what they cost.
        shortfall: What the study asks for and does not have; nothing if None.
        macs: Multiply-adds of hard sharing at the study's width, where they are known.
        matched: Whether kinds are compared at these.
    """
    rows = comparison_rows(finalists, macs)
    has_refined = any(strategy_of_trial(trial) == "refined" for trial in trials)
    asked_for = [strategy for strategy in STRATEGIES if strategy != "refined" or has_refined]
    spent: dict[str, Spent] = {strategy: _spent(strategy, trials) for strategy in asked_for}
    return Comparison(study, rows, spent, shortfall or Shortfall(), macs if matched else None)


def _spent(strategy: str, trials: Sequence[FrozenTrial]) -> Spent:
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    own = [trial for trial in trials if strategy_of_trial(trial) == strategy and trial.state in over]
    return Spent(len(own), sum(trial.duration.total_seconds() for trial in own if trial.duration))
