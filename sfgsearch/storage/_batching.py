"""Optuna's storage in a database, writing several things at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import (
    StudySystemAttributeModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, Update, bindparam, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from sfgsearch.storage._outage import is_outage
from sfgsearch.storage._outlast import outlast
from sfgsearch.storage._writes import Model, Writes, can_upsert, upsert, upsert_of_open_trial


class BatchingStorage(RDBStorage):
    """Optuna's storage, which writes by one statement, or several things by a few.

    What belongs to a trial is written by one statement, which asks for the trial's state by itself, where Optuna takes
    three or four and two to begin and end a transaction; see also :func:`together`. What is stored is the same.

    Args:
        arguments: As for :class:`optuna.storages.RDBStorage`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._prepare()

    def _prepare(self) -> None:
        self._local = threading.local()
        self._at_once: Engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        for name in ("_local", "_at_once"):
            del state[name]
        return state

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._prepare()

    @contextmanager
    def together(self, *, is_patient: bool = True) -> Iterator[None]:
        """See the function of this name; a block within another one is part of it."""
        if self._pending is not None or not can_upsert(self.engine.dialect.name):
            yield
            return
        self._local.pending = Writes()
        try:
            yield
        except Exception as error:
            pending, self._local.pending = self._local.pending, None
            if not is_outage(error):
                self._execute(pending)
            raise
        else:
            pending, self._local.pending = self._local.pending, None
            if is_patient:
                outlast(lambda: self._execute(pending))
            else:
                self._execute(pending)
        finally:
            self._local.pending = None

    def _flush(self) -> None:
        """Write what waits, for somebody wants to know."""
        if self._pending:
            pending, self._local.pending = self._local.pending, Writes()
            self._execute(pending)

    @property
    def _pending(self) -> Writes | None:
        return getattr(self._local, "pending", None)

    def _execute(self, writes: Writes) -> None:
        if writes:
            with _translated(), self.engine.begin() as connection:
                writes.execute(connection, self.check_trial_is_updatable)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Provide a connection on which every statement is a transaction of its own, without two more around it."""
        with _translated(), self._at_once.connect() as connection:
            yield connection

    def _write(self, model: Model, row: dict[str, Any]) -> bool:
        """Write a row of a trial, now or with the block; False if Optuna shall, or say why it cannot be written."""
        if self._pending is not None:
            self._pending.add(model, row)
            return True
        if not can_upsert(self.engine.dialect.name):
            return False
        with self._connection() as connection:
            return upsert_of_open_trial(connection, model, row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a trial."""
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        if not self._write(TrialUserAttributeModel, row):
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a trial."""
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        if not self._write(TrialSystemAttributeModel, row):
            super().set_trial_system_attr(trial_id, key, value)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set an intermediate value of a trial."""
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(intermediate_value)
        row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        if not self._write(TrialIntermediateValueModel, row):
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a study."""
        if self._pending is None:
            super().set_study_system_attr(study_id, key, value)
        else:
            row = {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
            self._pending.add(StudySystemAttributeModel, row)

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        """Set a parameter of a trial, which must have been of the same kind in the study's other trials."""
        if self._pending is None:
            super()._set_trial_param(trial_id, param_name, param_value_internal, distribution, previous_distribution)
            return
        previous = previous_distribution or self._earlier_distribution(trial_id, param_name)
        if previous is not None:
            check_distribution_compatibility(previous, distribution)
        row = {"param_value": param_value_internal, "distribution_json": distribution_to_json(distribution)}
        self._pending.add(TrialParamModel, {"trial_id": trial_id, "param_name": param_name, **row})

    def _earlier_distribution(self, trial_id: int, param_name: str) -> BaseDistribution | None:
        """Return the distribution of a parameter in any trial of the same study."""
        study = select(TrialModel.study_id).where(TrialModel.trial_id == trial_id).scalar_subquery()
        query = select(TrialParamModel.distribution_json).join(TrialModel)
        query = query.where(TrialModel.study_id == study, TrialParamModel.param_name == param_name).limit(1)
        with self._connection() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else json_to_distribution(found)

    @contextmanager
    def ending(self, trial_id: int, also: Callable[[Connection], None]) -> Iterator[None]:
        """See the function of this name."""
        before = self._endings
        self._local.endings = {**before, trial_id: also}
        try:
            yield
        finally:
            self._local.endings = before

    @property
    def _endings(self) -> dict[int, Callable[[Connection], None]]:
        return getattr(self._local, "endings", {})

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set the state of a trial, and its values; False if it was to begin and somebody else has begun it."""
        self._flush()
        if can_upsert(self.engine.dialect.name):
            with suppress(_UnchangedError):
                self._change_state(trial_id, state, values or ())
                return True
        return super().set_trial_state_values(trial_id, state, values)  # says what is wrong

    def _change_state(self, trial_id: int, state: TrialState, values: Sequence[float]) -> None:
        also = self._endings.get(trial_id)
        now = {"id": trial_id, "now": datetime.now(UTC).replace(tzinfo=None)}
        engine = self.engine if values or also else self._at_once
        with _translated(), engine.begin() as connection:
            if also:
                also(connection)
            if connection.execute(_changing(state), now).rowcount != 1:
                raise _UnchangedError
            if values:
                upsert(connection, TrialValueModel, [_value_row(trial_id, *value) for value in enumerate(values)])


@cache
def _changing(state: TrialState) -> Update:
    """Return the statement that brings a trial ``id`` into a state ``now``, from where it may come."""
    change: dict[Any, Any] = {TrialModel.state: state}
    expected = [TrialState.RUNNING, TrialState.WAITING]
    if state is TrialState.RUNNING:
        change[TrialModel._datetime_start_utc] = bindparam("now")
        expected = [TrialState.WAITING]
    if state.is_finished():
        change[TrialModel._datetime_complete_utc] = bindparam("now")
    return (
        update(TrialModel).where(TrialModel.trial_id == bindparam("id"), TrialModel.state.in_(expected)).values(change)
    )


class _UnchangedError(Exception):
    """A trial is not in a state from which it could be brought into the one that was asked for."""


def _value_row(trial_id: int, objective: int, value: float) -> dict[str, Any]:
    stored, kind = TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors that Optuna's storage raises."""
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise StorageInternalError(f"the database refused: {type(error).__name__}") from error
