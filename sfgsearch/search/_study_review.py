"""The review of a whole study: read for reports, and kept in the study for optuna-dashboard."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from sfgsearch.config import Config
from sfgsearch.reporting import Comparison, StudyStatus, compare, study_status
from sfgsearch.reporting._note import NoteLine, study_note
from sfgsearch.reporting._report import Report
from sfgsearch.search._identity import data_of, identity_of
from sfgsearch.search._shortfall import StudyProgress, read_progress
from sfgsearch.search._study import as_planned, seed_of
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
    """Return the comparison of a study's finalists as far as they are recorded, and what is missing from it."""
    with reading_once(study._storage):
        return _compare(study, read_progress(study, config))


def _compare(study: optuna.Study, progress: StudyProgress) -> Comparison:
    identity, matched = identity_of(study), progress.config.comparison.match == "macs"
    macs = identity.network.macs if identity else None
    return compare(
        study.study_name, progress.finals.current, progress.trials, progress.shortfall(), macs, matched=matched
    )


def read_status(study: optuna.Study, config: Config) -> StudyStatus:
    """Return how far a study is."""
    with reading_once(study._storage):
        return _status(read_progress(study, config))


def _status(progress: StudyProgress) -> StudyStatus:
    finals = progress.finals
    given_up = progress.given_up()
    return study_status(progress.config, progress.trials, progress.jobs, len(finals.current), finals.missing, given_up)


def review_study(study: optuna.Study, config: Config) -> StudyReview:
    """Read what there is to say about a study."""
    from sfgsearch.visualization.data import best_allocations

    with reading_once(study._storage):
        progress = read_progress(study, config)
        comparison, status = _compare(study, progress), _status(progress)
        best = next((one for one in best_allocations(study, comparison) if one.kind == "learned"), None)
    allocation = (best.name, best.allocation) if best else None
    return StudyReview(comparison, status, study_note(comparison, progress.trials, allocation, status))


def read_report(study: optuna.Study, config: Config) -> Report:
    """Return what a report of a study shows, with the seed and the trials that the study was told."""
    from sfgsearch.visualization.data import best_allocations

    told = as_planned(study, config.with_overrides(seed=seed_of(study, config)))
    found = review_study(study, config)
    allocations = [(best.name, best.allocation) for best in best_allocations(study, found.comparison)]
    return Report(study, told, found.comparison, found.status, found.note, allocations, data_of(study))
