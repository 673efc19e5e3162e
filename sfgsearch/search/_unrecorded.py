"""Trials whose records are not where the trials are."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState

from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.records import Records
from sfgsearch.search._attributes import ALLOCATION


def check_recorded(study: optuna.Study, config: Config, records: Records | None) -> None:
    """Check that what was trained is recorded: Optuna copies studies without the records.

    Args:
        study: The study.
        config: Its study file.
        records: Its records; None if it is in no database.

    Raises:
        StudyError: If records of its trials are missing.
    """
    if records is None:
        return
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trained = {trial.number for trial in trials if ALLOCATION in trial.system_attrs}
    lost = len(trained - records.trials()) if trained else 0
    if lost:
        raise StudyError(
            f"{config.path}: {lost} of the {len(trained)} complete trials of the study {study.study_name!r} have no "
            "record in the database, as after optuna.copy_study; bring the records from where the study was trained, "
            f"in Python: sfgsearch.search.copy_study(SOURCE_URL, TARGET_URL, {study.study_name!r})"
        )
