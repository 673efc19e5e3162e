"""The comparison of learned, searched and manual architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, groupby
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.records import STRATEGIES, ArchitectureRecord, strategy_of, strategy_of_trial
from sfgsearch.reporting._missing import Shortfall
from sfgsearch.reporting._paired import BETTER, WORSE, PairedTest, paired_test
from sfgsearch.reporting._statistics import Interval, interval
from sfgsearch.tasks import FRACTION, task_from_dict

RETRAINED, DERIVED, MONTE_CARLO = "retrained", "derived", "monte_carlo"
INFERENCES = (RETRAINED, DERIVED, MONTE_CARLO)
RELATIVE_ERROR = "relative_error"


@dataclass(frozen=True)
class Row:
    """One finalist over its seeds.

    Args:
        kind: How its allocation came about.
        name: Its name.
        inference: ``"retrained"`` from scratch, as all kinds are compared; for what was learned besides the
            ``"derived"`` network with the weights of the masked one, and its ``"monte_carlo"`` prediction.
        trial: The trial that it retrains.
        seeds: How many seeds it was retrained with.
        metrics: Test metrics by ``"<task>/<metric>"``.
        units: Their units.
        headline: The metrics that a table shows.
        error: Mean relative error over tasks on the test split.
        validation_error: Its mean on the validation split, by which the best of a kind is chosen.
        errors_by_seed: Relative error on the test split by seed.
        parameters: Trainable numbers, the mean over seeds.
        macs: Multiply-adds for one image, the mean over seeds.
        metrics_by_seed: Headline metrics on the test split, by key, then by seed.
        higher_is_better: Whether large values are good, by key, for the headline metrics that say so.
    """

    kind: str
    name: str
    inference: str
    trial: int
    seeds: int
    metrics: dict[str, Interval]
    units: dict[str, str]
    headline: tuple[str, ...]
    error: Interval
    validation_error: float
    errors_by_seed: dict[int, float]
    parameters: int
    macs: int
    metrics_by_seed: dict[str, dict[int, float]] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        """The kind, or ``"refined"`` for what was searched from what learned trials found."""
        return strategy_of(self.kind, self.name)


@dataclass(frozen=True)
class Spent:
    """What the trials of a strategy cost.

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
        rows: Finalists: learned, searched, refined, manual; within these by relative error on the validation split.
        spent: What the trials of each strategy cost; refined ones only where there are any.
        shortfall: What the study asks for and does not have.
    """

    study: str
    rows: list[Row]
    spent: dict[str, Spent]
    shortfall: Shortfall = field(default_factory=Shortfall)

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
    def best(self) -> dict[str, Row]:
        """The retrained finalist of each strategy with the lowest relative error on the validation split."""
        best = {row.strategy: row for row in reversed(self.rows) if row.inference == RETRAINED}
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

    def costs(self, duration: Callable[[float], str]) -> Iterator[str]:
        """Yield what the trials of each strategy cost, with what tells whether times were equal.

        Args:
            duration: Writes seconds.
        """
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
        """Paired tests between the best of each kind: of the relative error, then of the tasks' main metrics."""
        pairs = list(combinations(self.best.values(), 2))
        return [test for first, second in pairs for test in _tests(first, second)]

    def verdicts(self) -> list[str]:
        """Return a sentence for each pair of kinds: is the best of one better than the best of the other?

        The difference of relative errors is paired by seed; a difference counts only if its 95 % interval leaves
        out zero. A sentence says what failed for good and is missing from its comparison.
        """
        pairs = [test for test in self.tests if test.quantity == RELATIVE_ERROR]
        found = [_verdict(test, self.without(test.first[0], test.second[0])) for test in pairs]
        return found + [f"No verdict on {kind}: {without}." for kind, without in self.undecided.items()]

    def without(self, *kinds: str) -> str:
        """Return in words what failed for good and is missing from a comparison of kinds; empty if nothing is."""
        return self.shortfall.without(kinds, {row.trial for row in self.rows if row.inference == RETRAINED})

    @cached_property
    def undecided(self) -> dict[str, str]:
        """The kinds that will have no finalist since their candidates failed for good, with which ones these are."""
        if self.shortfall.is_unfinished:
            return {}
        lacking = {strategy: self.without(strategy) for strategy in STRATEGIES if strategy not in self.best}
        return {kind: without for kind, without in lacking.items() if without}


def _tests(first: Row, second: Row) -> Iterator[PairedTest]:
    names = (first.strategy, first.name), (second.strategy, second.name)
    errors = first.errors_by_seed, second.errors_by_seed
    yield paired_test(*names, RELATIVE_ERROR, errors, unit=FRACTION, higher_is_better=False)
    for key, higher_is_better in first.higher_is_better.items():
        if key in second.metrics_by_seed:
            values = first.metrics_by_seed[key], second.metrics_by_seed[key]
            yield paired_test(*names, key, values, unit=first.units[key], higher_is_better=higher_is_better)


def _plain(value: Interval) -> dict[str, Any]:
    return {"mean": value.mean, "ci95": [value.low, value.high]}


def _verdict(test: PairedTest, without: str) -> str:
    end = f", {without}." if without else "."
    (kind, name), (other_kind, other) = test.first, test.second
    pair = f"{name} against {other} ({other_kind})"
    if test.difference is None:
        return f"{pair}: too few common seeds ({test.seeds}) to tell{end}"
    who, found = "SFG" if kind == "learned" else kind, test.difference
    outcome = {BETTER: f"{who} wins", WORSE: f"{who} loses"}.get(test.outcome, "no difference is resolved")
    return (
        f"{pair}: {outcome}; relative error {found.mean:+.4f} "
        f"(95 % interval {found.low:+.4f} to {found.high:+.4f}, {test.seeds} seeds, lower is better){end}"
    )


def compare(
    study: str,
    finalists: Sequence[ArchitectureRecord],
    trials: Sequence[FrozenTrial],
    shortfall: Shortfall | None = None,
) -> Comparison:
    """Compare the finalists of a study.

    Args:
        study: The study's name.
        finalists: Records of role ``"finalist"``, and of role ``"relearned"`` for what was learned.
        trials: All trials of the study, for what they cost.
        shortfall: What the study asks for and does not have; nothing if None.
    """
    measured = [entry for record in finalists for entry in _measured(record)]
    measured.sort(key=lambda entry: entry.place)
    rows = [_row(list(entries)) for _, entries in groupby(measured, key=lambda entry: entry.place)]
    order: Sequence[str] = STRATEGIES
    rows.sort(key=lambda row: (order.index(row.strategy), INFERENCES.index(row.inference), row.validation_error))
    has_refined = any(strategy_of_trial(trial) == "refined" for trial in trials)
    asked_for = [strategy for strategy in STRATEGIES if strategy != "refined" or has_refined]
    spent: dict[str, Spent] = {strategy: _spent(strategy, trials) for strategy in asked_for}
    return Comparison(study, rows, spent, shortfall or Shortfall())


@dataclass(frozen=True)
class _Measured:
    """One way of predicting with one recorded training."""

    record: ArchitectureRecord
    inference: str
    metrics: dict[str, dict[str, float]]
    scores: dict[str, float]
    parameters: int
    macs: int

    @property
    def place(self) -> tuple[str, str, int, int]:
        return (
            self.record.kind,
            self.record.name,
            self.record.trial,
            INFERENCES.index(self.inference),
        )


def _measured(record: ArchitectureRecord) -> list[_Measured]:
    inference = DERIVED if record.role == "relearned" else RETRAINED
    found = [_Measured(record, inference, record.metrics, record.scores, record.parameters, record.macs)]
    if record.monte_carlo:
        sampled = record.monte_carlo
        values = (sampled.metrics, sampled.scores, sampled.parameters, sampled.macs)
        found.append(_Measured(record, MONTE_CARLO, *values))
    return found


def _row(entries: Sequence[_Measured]) -> Row:
    first = entries[0]
    keys = first.metrics["test"]
    directions = _directions(first.record)
    headline = tuple(key for key in directions if key in keys)
    return Row(
        kind=first.record.kind,
        name=first.record.name + ("" if first.inference == RETRAINED else f" {first.inference.replace('_', ' ')}"),
        inference=first.inference,
        trial=first.record.trial,
        seeds=len(entries),
        metrics={key: interval([entry.metrics["test"][key] for entry in entries]) for key in keys},
        units={key: first.record.units[key] for key in keys},
        headline=headline,
        error=interval([entry.scores["test"] for entry in entries]),
        validation_error=fmean(entry.scores["validation"] for entry in entries),
        errors_by_seed={entry.record.seed: entry.scores["test"] for entry in entries},
        parameters=round(fmean(entry.parameters for entry in entries)),
        macs=round(fmean(entry.macs for entry in entries)),
        metrics_by_seed={
            key: {entry.record.seed: entry.metrics["test"][key] for entry in entries if key in entry.metrics["test"]}
            for key in headline
        },
        higher_is_better={key: better for key in headline if (better := directions[key]) is not None},
    )


def _directions(record: ArchitectureRecord) -> dict[str, bool | None]:
    """Return the tasks' main metrics, with whether large values are good where the metric says so."""
    found: dict[str, bool | None] = {}
    for task in map(task_from_dict, record.tasks):
        metrics = dict(task.metrics().items())
        for name in task.headline:
            found[f"{task.name}/{name}"] = getattr(metrics.get(name), "higher_is_better", None)
    return found


def _spent(strategy: str, trials: Sequence[FrozenTrial]) -> Spent:
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    own = [trial for trial in trials if strategy_of_trial(trial) == strategy and trial.state in over]
    return Spent(len(own), sum(trial.duration.total_seconds() for trial in own if trial.duration))
