"""Optuna's storage in a database, with few and short uses of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages import BaseStorage
from optuna.storages._rdb.models import (
    NOT_FOUND_MSG,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialModel,
    TrialSystemAttributeModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, select

from sfgsearch.storage._batching import BatchingStorage
from sfgsearch.storage._memory import Memory, study_attributes, trial_attributes
from sfgsearch.storage._study_trials import StudyTrials
from sfgsearch.storage._trial_rows import read_rows, read_trials, rows_where
from sfgsearch.storage._writes import Model, can_upsert

_TRIAL = rows_where(TrialModel.trial_id == bindparam("id"))
_HAS_ATTRIBUTE = select(StudySystemAttributeModel.key).where(
    StudySystemAttributeModel.study_id == bindparam("study"), StudySystemAttributeModel.key == bindparam("name")
)


@contextmanager
def together(storage: BaseStorage, *, is_patient: bool = True) -> Iterator[None]:
    """Let what the block writes about trials, by this thread, reach the database at its end in one transaction.

    Optuna takes one for every attribute and parameter, and a dozen of those cost more than all else that the end of a
    trial does. Parameters, attributes and intermediate values of trials, and system attributes of studies, wait for the
    end, or for this thread to read a trial or to change its state; errors about them come only then. What was written
    before an error ended the block is written as well, unless the database is away.

    Args:
        storage: Optuna's storage; one that is in no database writes as ever.
        is_patient: Whether the end of the block waits for a database that is away.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: If a trial is over.
    """
    backend = getattr(storage, "_backend", storage)
    if not isinstance(backend, BatchingStorage):
        yield
        return
    with backend.together(is_patient=is_patient):
        yield


@contextmanager
def reading_once(storage: BaseStorage) -> Iterator[None]:
    """Let the block, in this thread, see studies as they are when it first looks.

    Its trials and its attributes are read from the database once then. Attributes of the study that the block sets are
    seen, what becomes of trials meanwhile is not, nor what :func:`together` holds back about them. That suits whoever
    draws several pictures of a study, each of which asks Optuna for the trials, and samplers, which do likewise.

    Args:
        storage: Optuna's storage; one that is in no database reads as ever.
    """
    backend = getattr(storage, "_backend", storage)
    if not isinstance(backend, SparingStorage):
        yield
        return
    with backend.reading_once():
        yield


@contextmanager
def ending(storage: BaseStorage, trial_id: int, also: Callable[[Connection], None]) -> Iterator[None]:
    """Let something else happen in the transaction in which the block, in this thread, changes the state of a trial.

    Args:
        storage: Optuna's storage, in a database; one that is not of this package does it in a transaction of its own,
            before the block.
        trial_id: Optuna's id of the trial.
        also: What else; an error of its own leaves the trial as it is.
    """
    backend: Any = getattr(storage, "_backend", storage)
    if isinstance(backend, BatchingStorage) and can_upsert(backend.engine.dialect.name):
        with backend.ending(trial_id, also):
            yield
    else:
        with backend.engine.begin() as connection:
            also(connection)
        yield


def trial_system_attrs(storage: BaseStorage, trial_id: int) -> dict[str, Any]:
    """Return the system attributes of a trial, without all else that is known of it where the storage is ours.

    Args:
        storage: Optuna's storage.
        trial_id: Optuna's id of the trial.

    Raises:
        KeyError: If there is no such trial.
    """
    backend = getattr(storage, "_backend", storage)
    return dict((backend if isinstance(backend, SparingStorage) else storage).get_trial_system_attrs(trial_id))


class SparingStorage(BatchingStorage):
    """Optuna's storage, which takes few statements, and none for what it knows.

    Whoever asks Optuna for the trials of a study, which samplers do several times per trial, makes it read all that are
    not finished anew, with everything that is known of them: in a study of hundreds of waiting trials that costs more
    than all other uses of the database. Here a waiting trial is read once, see :class:`StudyTrials`, trials are read by
    two queries where Optuna takes six, and attributes of studies by one.

    Args:
        arguments: As for :class:`optuna.storages.RDBStorage`.
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._trials: dict[int, StudyTrials] = {}

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        del state["_trials"]
        return state

    @contextmanager
    def reading_once(self) -> Iterator[None]:
        """See the function of this name; a block within another one is part of it."""
        if self._memory is not None:
            yield
            return
        self._local.memory = Memory()
        try:
            yield
        finally:
            self._local.memory = None

    @property
    def _memory(self) -> Memory | None:
        return getattr(self._local, "memory", None)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return all user attributes of a study."""
        return self._attributes(StudyUserAttributeModel, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return all system attributes of a study."""
        return self._attributes(StudySystemAttributeModel, study_id)

    def _attributes(self, model: Model, study_id: int) -> dict[str, Any]:
        known = self._memory.attributes.get((model, study_id)) if self._memory else None
        if known is None:
            if model is StudySystemAttributeModel:
                self._flush()
            with self._connection() as connection:
                known = study_attributes(connection, model, study_id)
            if self._memory:
                self._memory.attributes[model, study_id] = known
        return copy.deepcopy(known)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a study."""
        super().set_study_user_attr(study_id, key, value)
        self._remember(StudyUserAttributeModel, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a study."""
        super().set_study_system_attr(study_id, key, value)
        self._remember(StudySystemAttributeModel, study_id, key, value)

    def _remember(self, model: Model, study_id: int, key: str, value: Any) -> None:
        known = self._memory.attributes.get((model, study_id)) if self._memory else None
        if known is not None:
            known[key] = json.loads(json.dumps(value))

    def has_study_system_attr(self, study_id: int, key: str) -> bool:
        """Tell whether a study has a system attribute; all of them together are large, with the notes of its trials."""
        with self._connection() as connection:
            return connection.execute(_HAS_ATTRIBUTE, {"study": study_id, "name": key}).first() is not None

    get_trial_param = BaseStorage.get_trial_param
    get_trial_user_attrs = BaseStorage.get_trial_user_attrs

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Return all system attributes of a trial."""
        self._flush()
        with self._connection() as connection:
            return trial_attributes(connection, TrialSystemAttributeModel, trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial.

        Raises:
            KeyError: If there is none of that id.
        """
        self._flush()
        with self._connection() as connection:
            rows = read_rows(connection, _TRIAL, {"id": trial_id})
            if not rows:
                raise KeyError(NOT_FOUND_MSG)
            return read_trials(connection, rows)[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return the trials of some ids and of all above one, or of some states."""
        if self._memory is None:
            self._flush()
        if states is not None:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        has_cache = trial_id_greater_than > -1 or included_trial_ids
        if self._memory and study_id in self._memory.trials and has_cache:
            return []  # which has all that were read before
        trials = self._trials.setdefault(study_id, StudyTrials(study_id))
        with self._connection() as connection:
            found = trials.read(connection, included_trial_ids, trial_id_greater_than)
        if self._memory:
            self._memory.trials.add(study_id)
        return found

    def delete_study(self, study_id: int) -> None:
        """Delete a study, whose id another one may get."""
        super().delete_study(study_id)
        self._trials.pop(study_id, None)
