"""The search: studies, trials and finalists on Optuna."""

from typing import TYPE_CHECKING

from sfgsearch._lazy import lazy_exports

if TYPE_CHECKING:
    from sfgsearch.search._artifacts import artifact_folder
    from sfgsearch.search._database import sole_process, study_storage
    from sfgsearch.search._finalists import current_finalists, missing_finalists, select_finalists
    from sfgsearch.search._hooks import PrunedTrial, TrainedTrial, TrialHooks
    from sfgsearch.search._objective import PlainObjective
    from sfgsearch.search._queue import enqueue_missing
    from sfgsearch.search._retraining import retrain_finalists
    from sfgsearch.search._sampling import WithinKindPruner
    from sfgsearch.search._study import create_study, load_study, records_of
    from sfgsearch.search._transfer import copy_study

__all__ = [
    "PlainObjective",
    "PrunedTrial",
    "TrainedTrial",
    "TrialHooks",
    "WithinKindPruner",
    "artifact_folder",
    "copy_study",
    "create_study",
    "current_finalists",
    "enqueue_missing",
    "load_study",
    "missing_finalists",
    "records_of",
    "retrain_finalists",
    "select_finalists",
    "sole_process",
    "study_storage",
]

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__ = lazy_exports(
        __name__,
        {
            "PlainObjective": "_objective",
            "PrunedTrial": "_hooks",
            "TrainedTrial": "_hooks",
            "TrialHooks": "_hooks",
            "WithinKindPruner": "_sampling",
            "artifact_folder": "_artifacts",
            "copy_study": "_transfer",
            "create_study": "_study",
            "current_finalists": "_finalists",
            "enqueue_missing": "_queue",
            "load_study": "_study",
            "missing_finalists": "_finalists",
            "records_of": "_study",
            "retrain_finalists": "_retraining",
            "select_finalists": "_finalists",
            "sole_process": "_database",
            "study_storage": "_database",
        },
    )
