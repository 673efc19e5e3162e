"""The comparison of learned, searched and manual architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting._statistics import Interval, interval

KINDS = ("learned", "searched", "manual")


@dataclass(frozen=True)
class Row:
    """One finalist over its seeds.

    Args:
        kind: How its allocation came about.
        name: Its name.
        trial: The trial that it retrains.
        seeds: How many seeds it was retrained with.
        metrics: Test metrics by ``"<task>/<metric>"``.
        units: Their units.
        error: Mean relative error over tasks on the test split.
        validation_error: Its mean on the validation split, by which the best of a kind is chosen.
        errors_by_seed: Relative error on the test split by seed.
        parameters: Trainable numbers.
        macs: Multiply-adds for one image.
    """

    kind: str
    name: str
    trial: int
    seeds: int
    metrics: dict[str, Interval]
    units: dict[str, str]
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
        best = {row.kind: row for row in reversed(self.rows)}
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
        finalists: Records of role ``"finalist"``.
        trials: All trials of the study, for what they cost.
    """
    ordered = sorted(finalists, key=lambda record: (KINDS.index(record.kind), record.name, record.trial))
    groups = groupby(ordered, key=lambda record: (record.kind, record.name, record.trial))
    rows = [_row(list(records)) for _, records in groups]
    rows.sort(key=lambda row: (KINDS.index(row.kind), row.validation_error))
    return Comparison(study, rows, {kind: _spent(kind, trials) for kind in KINDS})


def _row(records: Sequence[ArchitectureRecord]) -> Row:
    first = records[0]
    by_seed: Mapping[int, float] = {record.seed: record.scores["test"] for record in records}
    return Row(
        kind=first.kind,
        name=first.name,
        trial=first.trial,
        seeds=len(records),
        metrics={key: interval([record.metrics["test"][key] for record in records]) for key in first.metrics["test"]},
        units=first.units,
        error=interval(list(by_seed.values())),
        validation_error=fmean(record.scores["validation"] for record in records),
        errors_by_seed=dict(by_seed),
        parameters=first.parameters,
        macs=first.macs,
    )


def _spent(kind: str, trials: Sequence[FrozenTrial]) -> Spent:
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    own = [trial for trial in trials if trial.params.get("kind") == kind and trial.state in over]
    return Spent(len(own), sum(trial.duration.total_seconds() for trial in own if trial.duration))
