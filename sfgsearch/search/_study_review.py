"""The review of a whole study: read for reports, and kept in the study for optuna-dashboard."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from sfgsearch.config import Config
from sfgsearch.reporting import Comparison, StudyStatus, compare, study_status
from sfgsearch.reporting._note import NoteLine, study_note
from sfgsearch.reporting._report import Report
from sfgsearch.search._finalists import Finals, current_finalists, read_finals
from sfgsearch.search._study import as_planned, records_of, seed_of
from sfgsearch.storage import reading_once


@dataclass(frozen=True)
class StudyReview:
    """What there is to say about a study.

    Args:
        comparison: Its finalists as far as they are recorded.
        status: How far it is.
        note: What was found, in five lines.
    """

    comparison: Comparison
    status: StudyStatus
    note: list[NoteLine]


def read_comparison(study: optuna.Study, config: Config) -> Comparison:
    """Return the comparison of a study's finalists as far as they are recorded."""
    return compare(study.study_name, current_finalists(study, config), study.get_trials(deepcopy=False))


def read_status(study: optuna.Study, config: Config) -> StudyStatus:
    """Return how far a study is."""
    with reading_once(study._storage):
        return _status(study, config, read_finals(study, config))


def _status(study: optuna.Study, config: Config, finals: Finals) -> StudyStatus:
    records = records_of(study)
    return study_status(
        as_planned(study, config),
        study.get_trials(deepcopy=False),
        records.jobs.all() if records and records.have_jobs else {},
        len(finals.current),
        finals.missing,
    )


def review_study(study: optuna.Study, config: Config) -> StudyReview:
    """Read what there is to say about a study."""
    from sfgsearch.visualization.data import best_allocations

    with reading_once(study._storage):
        finals, trials = read_finals(study, config), study.get_trials(deepcopy=False)
        comparison = compare(study.study_name, finals.current, trials)
        status = _status(study, config, finals)
        best = next((one for one in best_allocations(study, comparison) if one.kind == "learned"), None)
    allocation = (best.name, best.allocation) if best else None
    return StudyReview(comparison, status, study_note(comparison, trials, allocation, status))


def read_report(study: optuna.Study, config: Config) -> Report:
    """Return what a report of a study shows, with the seed and the trials that the study was told."""
    from sfgsearch.visualization.data import best_allocations

    told = as_planned(study, config.with_overrides(seed=seed_of(study, config)))
    found = review_study(study, config)
    allocations = [(best.name, best.allocation) for best in best_allocations(study, found.comparison)]
    return Report(study, told, found.comparison, found.status, found.note, allocations)
