"""The comparison of learned, searched and manual architectures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._statistics import Interval, interval
from sfgsearch.tasks import task_from_dict

KINDS = ("learned", "searched", "manual")
RETRAINED, DERIVED, MONTE_CARLO = "retrained", "derived", "monte_carlo"
INFERENCES = (RETRAINED, DERIVED, MONTE_CARLO)


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


@dataclass(frozen=True)
class Spent:
    """What the trials of a kind cost.

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
        rows: Finalists: learned, searched, manual; within a kind by relative error on the validation split.
        spent: What the trials of each kind cost.
    """

    study: str
    rows: list[Row]
    spent: dict[str, Spent]

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
            "spent": {kind: {"trials": s.trials, "seconds": round(s.seconds, 1)} for kind, s in self.spent.items()},
        }

    def verdicts(self) -> list[str]:
        """Return a sentence for each other kind: does learning the allocation win against its best?

        The difference of relative errors is paired by seed; a difference counts only if its 95 % interval leaves
        out zero.
        """
        best = {row.kind: row for row in reversed(self.rows) if row.inference == RETRAINED}
        if "learned" not in best:
            return []
        return [_verdict(best["learned"], best[kind]) for kind in ("searched", "manual") if kind in best]


def _plain(value: Interval) -> dict[str, Any]:
    return {"mean": value.mean, "ci95": [value.low, value.high]}


def _verdict(learned: Row, other: Row) -> str:
    seeds = sorted(learned.errors_by_seed.keys() & other.errors_by_seed.keys())
    pair = f"{learned.name} against {other.name} ({other.kind})"
    if len(seeds) < 2:
        return f"{pair}: too few common seeds ({len(seeds)}) to tell."
    difference = interval([learned.errors_by_seed[seed] - other.errors_by_seed[seed] for seed in seeds])
    if difference.low == difference.high:
        outcome = "no difference is resolved"  # equal in every seed: nothing to estimate an interval from
    elif difference.high < 0:
        outcome = "SFG wins"
    elif difference.low > 0:
        outcome = "SFG loses"
    else:
        outcome = "no difference is resolved"
    return (
        f"{pair}: {outcome}; relative error {difference.mean:+.4f} "
        f"(95 % interval {difference.low:+.4f} to {difference.high:+.4f}, {len(seeds)} seeds, lower is better)."
    )


def compare(study: str, finalists: Sequence[ArchitectureRecord], trials: Sequence[FrozenTrial]) -> Comparison:
    """Compare the finalists of a study.

    Args:
        study: The study's name.
        finalists: Records of role ``"finalist"``, and of role ``"relearned"`` for what was learned.
        trials: All trials of the study, for what they cost.
    """
    measured = [entry for record in finalists for entry in _measured(record)]
    measured.sort(key=lambda entry: entry.place)
    rows = [_row(list(entries)) for _, entries in groupby(measured, key=lambda entry: entry.place)]
    rows.sort(key=lambda row: (KINDS.index(row.kind), INFERENCES.index(row.inference), row.validation_error))
    return Comparison(study, rows, {kind: _spent(kind, trials) for kind in KINDS})


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
    def place(self) -> tuple[int, str, int, int]:
        return (
            KINDS.index(self.record.kind),
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
    return Row(
        kind=first.record.kind,
        name=first.record.name + ("" if first.inference == RETRAINED else f" {first.inference.replace('_', ' ')}"),
        inference=first.inference,
        trial=first.record.trial,
        seeds=len(entries),
        metrics={key: interval([entry.metrics["test"][key] for entry in entries]) for key in keys},
        units={key: first.record.units[key] for key in keys},
        headline=tuple(key for key in _headline(first.record) if key in keys),
        error=interval([entry.scores["test"] for entry in entries]),
        validation_error=fmean(entry.scores["validation"] for entry in entries),
        errors_by_seed={entry.record.seed: entry.scores["test"] for entry in entries},
        parameters=round(fmean(entry.parameters for entry in entries)),
        macs=round(fmean(entry.macs for entry in entries)),
    )


def _headline(record: ArchitectureRecord) -> Iterator[str]:
    for task in map(task_from_dict, record.tasks):
        yield from (f"{task.name}/{metric}" for metric in task.headline)


def _spent(kind: str, trials: Sequence[FrozenTrial]) -> Spent:
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    own = [trial for trial in trials if trial.params.get("kind") == kind and trial.state in over]
    return Spent(len(own), sum(trial.duration.total_seconds() for trial in own if trial.duration))
