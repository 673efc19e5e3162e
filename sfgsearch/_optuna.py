"""The only module that uses names of Optuna which are not public; its contract has a test of its own.

Optuna has no public way from a study to its storage, to the ids under which a storage knows studies and trials, or to a
trial that another process created.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

_ENQUEUED = "fixed_params"
_ARTIFACTS = "artifacts:"


def storage_of(study: optuna.Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def engine_of(storage: BaseStorage | optuna.Study) -> Engine | None:
    """Return the engine of a database storage, which Optuna wraps in a cache; None for other storages."""
    found = storage._storage if isinstance(storage, optuna.Study) else storage
    backend = getattr(found, "_backend", found)
    return backend.engine if isinstance(backend, RDBStorage) else None


def study_id(study: optuna.Study) -> int:
    """Return the id under which its storage knows a study."""
    return study._study_id


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """Return the id under which its storage knows a trial."""
    return trial._trial_id


def resume(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Return a running trial, whoever began it, to be trained in this process."""
    return optuna.Trial(study, trial._trial_id)


def set_state(study: optuna.Study, trial: FrozenTrial, state: TrialState) -> bool:
    """Set the state of an unfinished trial; False if it was to run and another process has begun it.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: If the trial has finished.
    """
    return study._storage.set_trial_state_values(trial._trial_id, state)


def enqueued_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the parameters that a trial was enqueued with; None if nobody enqueued it."""
    return trial.system_attrs.get(_ENQUEUED)


def reported_steps(trial: optuna.Trial) -> Container[int]:
    """Return the steps of which a running trial has reported values."""
    return trial._cached_frozen_trial.intermediate_values


def artifact_ids(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return the artifact ids in the system attributes of a trial or study by file name; the first of a name counts."""
    contents = [json.loads(value) for key, value in attributes.items() if key.startswith(_ARTIFACTS)]
    # optuna-dashboard leaves null of an artifact that somebody deleted, at which optuna.artifacts stumbles.
    return {content["filename"]: content["artifact_id"] for content in reversed(contents) if content}
