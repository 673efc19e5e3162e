"""Finalists: the best of every kind, retrained from scratch over several seeds and tested once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from sfgsearch.config import ComparisonSection, Config
from sfgsearch.methods import FixedAllocation, Method
from sfgsearch.records import ArchitectureRecord, Records
from sfgsearch.records._store import Kind
from sfgsearch.search._objective import Objective, describe_training
from sfgsearch.search._study import records_of, seed_of
from sfgsearch.training import EpochReport


@dataclass(frozen=True)
class Finalist:
    """One retraining that a comparison needs.

    Args:
        trial: The trial whose architecture is retrained.
        kind: Its kind.
        name: Its name.
        seed: The seed of the retraining.
    """

    trial: int
    kind: Kind
    name: str
    seed: int


def select_finalists(trials: Sequence[ArchitectureRecord], section: ComparisonSection) -> list[ArchitectureRecord]:
    """Return the best trials of every kind by their relative error on the validation split.

    Args:
        trials: Records of trials.
        section: How many of each kind.
    """
    chosen: list[ArchitectureRecord] = []
    for kind, wanted in (("learned", section.learned), ("searched", section.searched), ("manual", section.manual)):
        best_first = sorted((r for r in trials if r.kind == kind), key=lambda record: record.scores["validation"])
        distinct = list({record.name: record for record in reversed(best_first)}.values())[::-1]
        chosen += distinct if wanted == "all" else distinct[: int(wanted)]
    return chosen


def candidates(study: optuna.Study, config: Config) -> list[ArchitectureRecord]:
    """Return the trials among which finalists are selected.

    These are the recorded ones that Optuna holds for complete, and among manual ones those that the file still lists.
    """
    records = records_of(study)
    complete = {t.number for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    return [
        record
        for record in (records.all("trial") if records else [])
        if record.trial in complete and (record.kind != "manual" or record.name in config.manual.names)
    ]


def current_finalists(study: optuna.Study, config: Config) -> list[ArchitectureRecord]:
    """Return the recorded retrainings that belong to the comparison as the file asks for it now."""
    selected = {record.trial for record in select_finalists(candidates(study, config), config.comparison)}
    seeds = finalist_seeds(config.comparison, seed_of(study, config))
    records = records_of(study)
    return [r for r in (records.all("finalist") if records else []) if r.trial in selected and r.seed in seeds]


def missing_finalists(study: optuna.Study, config: Config) -> list[Finalist]:
    """Return the retrainings that a comparison still lacks.

    Seeds are the study's seed + 1 and up: the study's own seed is the one that selection favoured.
    """
    done = {(record.trial, record.seed) for record in current_finalists(study, config)}
    return [
        Finalist(record.trial, record.kind, record.name, seed)
        for record in select_finalists(candidates(study, config), config.comparison)
        for seed in finalist_seeds(config.comparison, seed_of(study, config))
        if (record.trial, seed) not in done
    ]


def finalist_seeds(section: ComparisonSection, study_seed: int) -> range:
    """Return the seeds of the final comparison."""
    return range(study_seed + 1, study_seed + 1 + section.seeds)


def retrain_finalists(
    objective: Objective,
    records: Records,
    finalists: Sequence[Finalist],
    on_epoch: Callable[[Finalist, EpochReport], None] | None = None,
    on_failure: Callable[[Finalist, str], None] | None = None,
) -> None:
    """Retrain finalists from scratch, read the test data, and record them one by one.

    Learned and searched architectures are trained as the fixed allocations that they are; manual methods as such.

    Args:
        objective: Knows the experiment and the manual methods.
        records: Where finalists are recorded.
        finalists: What to train.
        on_epoch: Called after every epoch.
        on_failure: Called with the reason when a retraining fails, and the others go on; without it it is raised.
    """
    sources = {record.trial: record for record in records.all("trial")}
    for finalist in finalists:
        method = _method(objective, sources[finalist.trial])

        def end_epoch(report: EpochReport, current: Finalist = finalist) -> None:
            if on_epoch:
                on_epoch(current, report)

        try:
            trained = objective.experiment.train(
                method, finalist.seed, on_epoch=end_epoch, splits=("train", "validation", "test")
            )
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(finalist, f"{type(error).__name__}: {error}")
            continue
        records.add(describe_training(objective, finalist.trial, "finalist", finalist.kind, finalist.name, trained))


def _method(objective: Objective, record: ArchitectureRecord) -> Method:
    if record.kind == "manual":
        return objective.manual[record.name]
    return FixedAllocation(record.allocation)
