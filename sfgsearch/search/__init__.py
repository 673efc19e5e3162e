"""The search: studies, trials and finalists on Optuna."""

from sfgsearch.search._artifacts import artifact_folder
from sfgsearch.search._finalists import current_finalists, missing_finalists, select_finalists
from sfgsearch.search._hooks import PrunedTrial, TrainedTrial, TrialHooks
from sfgsearch.search._objective import PlainObjective
from sfgsearch.search._place import sole_process, study_storage
from sfgsearch.search._pruner import WithinKindPruner
from sfgsearch.search._queue import enqueue_missing
from sfgsearch.search._retraining import retrain_finalists
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
