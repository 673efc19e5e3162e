"""Writing several things about trials into Optuna's tables in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from optuna.storages._rdb.models import (
    NOT_FOUND_MSG,
    StudySystemAttributeModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import TrialState
from sqlalchemy import Connection, bindparam, inspect, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

Model = Hashable
"""A class that Optuna maps to a table; it says nothing more of their types."""

_KEYS: Mapping[Model, tuple[str, ...]] = {
    TrialParamModel: ("trial_id", "param_name"),
    TrialValueModel: ("trial_id", "objective"),
    TrialUserAttributeModel: ("trial_id", "key"),
    TrialSystemAttributeModel: ("trial_id", "key"),
    TrialIntermediateValueModel: ("trial_id", "step"),
    StudySystemAttributeModel: ("study_id", "key"),
}
"""By which columns rows are told apart."""

_FIRST_STAYS = {TrialParamModel}
"""Tables whose rows do not change any more, where Optuna takes a second one for a race that is lost."""

_OPEN = tuple(state for state in TrialState if not state.is_finished())

_STATES = select(TrialModel.trial_id, TrialModel.state).where(
    TrialModel.trial_id.in_(bindparam("trials", expanding=True))
)


@dataclass
class Writes:
    """Rows that are to be written, later ones in the place of earlier ones with the same key."""

    _rows: dict[Model, dict[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, model: Model, row: dict[str, Any]) -> None:
        """Add a row of a table."""
        key = tuple(row[column] for column in _KEYS[model])
        rows = self._rows.setdefault(model, {})
        if model not in _FIRST_STAYS or key not in rows:
            rows[key] = row

    def execute(self, connection: Connection, check: Callable[[int, TrialState], None]) -> None:
        """Write all rows.

        Args:
            connection: In a transaction.
            check: Raises an error if a trial of an id and a state may not be changed.

        Raises:
            KeyError: If there is no such trial.
        """
        trials = {row["trial_id"] for rows in self._rows.values() for row in rows.values() if "trial_id" in row}
        if trials:
            states = {row.trial_id: row.state for row in connection.execute(_STATES, {"trials": list(trials)})}
            for trial in trials:
                if trial not in states:
                    raise KeyError(NOT_FOUND_MSG)
                check(trial, states[trial])
        for model, rows in self._rows.items():
            upsert(connection, model, list(rows.values()))


def upsert(connection: Connection, model: Model, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of one shape, or change those that are there."""
    connection.execute(_upsert(connection.dialect.name, model, tuple(rows[0])), rows)


def upsert_of_open_trial(connection: Connection, model: Model, row: dict[str, Any]) -> bool:
    """Insert or change one row of a trial in one statement; False if the trial is over or not there."""
    statement = _upsert_of_open_trial(connection.dialect.name, model, tuple(row))
    return bool(connection.execute(statement, row).rowcount > 0)


_DIALECTS: Mapping[str, Callable[..., Any]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
    "mysql": mysql.insert,
    "mariadb": mysql.insert,
}


def can_upsert(dialect: str) -> bool:
    """Tell whether rows can be inserted or changed in one statement in a database."""
    return dialect in _DIALECTS


@lru_cache
def _upsert(dialect: str, model: Model, columns: tuple[str, ...]) -> Any:
    inserting = _DIALECTS[dialect](model)
    return _replacing(inserting.values({name: bindparam(name) for name in columns}), model, columns)


@lru_cache
def _upsert_of_open_trial(dialect: str, model: Model, columns: tuple[str, ...]) -> Any:
    types = inspect(model).columns
    values = [bindparam(name, type_=types[name].type) for name in columns if name != "trial_id"]
    trial = select(TrialModel.trial_id, *values)
    trial = trial.where(TrialModel.trial_id == bindparam("trial_id"), TrialModel.state.in_(_OPEN))
    names = ["trial_id", *(name for name in columns if name != "trial_id")]
    inserting = _DIALECTS[dialect](model).from_select(names, trial)
    return _replacing(inserting, model, columns).execution_options(preserve_rowcount=True)


def _replacing(inserting: Any, model: Model, columns: Sequence[str]) -> Any:
    """Complete an insertion with what happens where there is a row with the same key."""
    keys = _KEYS[model]
    changed = [name for name in columns if name not in keys] if model not in _FIRST_STAYS else []
    if hasattr(inserting, "on_duplicate_key_update"):
        # MySQL has no way to leave a row alone that hides no other error: the key is set to itself.
        return inserting.on_duplicate_key_update({name: inserting.inserted[name] for name in changed or keys[:1]})
    if not changed:
        return inserting.on_conflict_do_nothing(index_elements=list(keys))
    return inserting.on_conflict_do_update(
        index_elements=list(keys), set_={name: inserting.excluded[name] for name in changed}
    )
