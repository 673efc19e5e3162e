"""Rows of a comparison: finalists over their seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import fmean

from sfgsearch.comparison._statistics import Interval, interval
from sfgsearch.records import STRATEGIES, ArchitectureRecord, costs_alike, strategy_of

RETRAINED, DERIVED, MONTE_CARLO = "retrained", "derived", "monte_carlo"
REVERSED, SHUFFLED = "reversed", "shuffled"
CONTROLS = (REVERSED, SHUFFLED)
"""Controls of a learned allocation: its own shares in another order of layers."""
INFERENCES = (RETRAINED, *CONTROLS, DERIVED, MONTE_CARLO)
RELATIVE_ERROR = "relative_error"
_INFERENCE_OF = {"finalist": RETRAINED, "matched": RETRAINED, "relearned": DERIVED} | {one: one for one in CONTROLS}


@dataclass(frozen=True)
class Row:
    """One finalist over its seeds.

    Args:
        kind: How its allocation came about.
        name: Its name.
        inference: ``"retrained"`` from scratch, as all kinds are compared; for what was learned besides the
            ``"derived"`` network with the weights of the masked one, and its ``"monte_carlo"`` prediction; and its
            controls, retrained with the shares of its layers ``"reversed"`` or ``"shuffled"``.
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
        width: The backbone's option, where it has one.
        is_scaled: Whether that was chosen for its multiply-adds, rather than by the study file.
        matched: Whether these are within 2 % of those of hard sharing at the study's width.
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
    width: float | None = None
    is_scaled: bool = False
    matched: bool = False

    @property
    def strategy(self) -> str:
        """The kind, or ``"refined"`` for what was searched from what learned trials found."""
        return strategy_of(self.kind, self.name)


def comparison_rows(finalists: Iterable[ArchitectureRecord], macs: int | None) -> list[Row]:
    """Return finalists over their seeds.

    Args:
        finalists: Their records.
        macs: Multiply-adds of hard sharing at the study's width; None where nothing is known of them.

    Returns:
        Learned, searched, refined and manual ones; within these those that were scaled first, then by relative error on
        the validation split.
    """
    measured = [entry for record in finalists for entry in _measured(record)]
    measured.sort(key=lambda entry: entry.place)
    rows = [_row(list(entries), macs) for _, entries in groupby(measured, key=lambda entry: entry.place)]
    return sorted(rows, key=lambda row: (*rank(row), not row.is_scaled, row.validation_error))


def rank(row: Row) -> tuple[int, int]:
    """Return the place of a finalist in tables: by its strategy, then by how it predicts."""
    strategies: Sequence[str] = STRATEGIES
    return strategies.index(row.strategy), INFERENCES.index(row.inference)


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
    def is_scaled(self) -> bool:
        return self.record.role in ("matched", *CONTROLS)

    @property
    def place(self) -> tuple[str, str, int, str, bool]:
        return self.record.kind, self.record.name, self.record.trial, self.inference, self.is_scaled


def _measured(record: ArchitectureRecord) -> list[_Measured]:
    found = [
        _Measured(record, _INFERENCE_OF[record.role], record.metrics, record.scores, record.parameters, record.macs)
    ]
    if record.monte_carlo:
        sampled = record.monte_carlo
        values = (sampled.metrics, sampled.scores, sampled.parameters, sampled.macs)
        found.append(_Measured(record, MONTE_CARLO, *values))
    return found


def _row(entries: Sequence[_Measured], target: int | None) -> Row:
    first, macs = entries[0], round(fmean(entry.macs for entry in entries))
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
        macs=macs,
        metrics_by_seed={
            key: {entry.record.seed: entry.metrics["test"][key] for entry in entries if key in entry.metrics["test"]}
            for key in headline
        },
        higher_is_better={key: better for key in headline if (better := directions[key]) is not None},
        width=_mean_width([entry.record for entry in entries]),
        is_scaled=first.is_scaled,
        matched=target is not None and costs_alike(macs, target),
    )


def _mean_width(records: Sequence[ArchitectureRecord]) -> float | None:
    """Return the mean width over seeds, which differ where a random order of layers does."""
    widths = [record.backbone["width"] for record in records if "width" in record.backbone]
    return fmean(widths) if widths else None


def _directions(record: ArchitectureRecord) -> dict[str, bool | None]:
    """Return the tasks' main metrics, with whether large values are good where the metric says so."""
    from sfgsearch.tasks import task_from_dict  # needs torch, which tables of records do not

    found: dict[str, bool | None] = {}
    for task in map(task_from_dict, record.tasks):
        metrics = dict(task.metrics().items())
        for name in task.headline:
            found[f"{task.name}/{name}"] = getattr(metrics.get(name), "higher_is_better", None)
    return found
