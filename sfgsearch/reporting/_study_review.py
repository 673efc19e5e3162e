"""The review of a whole study: read for reports, and kept in the study for optuna-dashboard."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from sfgsearch.comparison import Comparison, StudyStatus
from sfgsearch.comparison._progress import read_progress
from sfgsearch.config import Config
from sfgsearch.reporting._note import NoteLine, study_note
from sfgsearch.reporting._report import Report
from sfgsearch.search._identity import data_of
from sfgsearch.search._study import as_planned, seed_of
from sfgsearch.visualization.data import best_allocations


@dataclass(frozen=True)
class StudyReview:
    """Comparison, status and note of a study.

    Args:
        comparison: Its finalists as far as they are recorded.
        status: How far it is.
        note: What was found, in five lines.
    """

    comparison: Comparison
    status: StudyStatus
    note: list[NoteLine]


def review_study(study: optuna.Study, config: Config) -> StudyReview:
    """Read what there is to say about a study."""
    progress = read_progress(study, config)
    comparison, status = progress.comparison(study), progress.status()
    best = next((one for one in best_allocations(study, comparison) if one.kind == "learned"), None)
    allocation = (best.name, best.allocation) if best else None
    return StudyReview(comparison, status, study_note(comparison, progress.trials, allocation, status))


def read_report(study: optuna.Study, config: Config) -> Report:
    """Return what a report of a study shows, with the seed and the trials that the study was told."""
    told = as_planned(study, config.with_overrides(seed=seed_of(study, config)))
    found = review_study(study, config)
    allocations = [(best.name, best.allocation) for best in best_allocations(study, found.comparison)]
    return Report(study, told, found.comparison, found.status, found.note, allocations, data_of(study))
