"""Copying a study from one database into another, such as from SQLite into a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    RowMapping,
    Table,
    delete,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from sfgsearch.errors import StudyError
from sfgsearch.records import Records
from sfgsearch.records._models import Base
from sfgsearch.records._store import check_schema
from sfgsearch.storage import database_lock, display_url, open_storage, redact, sqlite_file, with_driver

_UNFINISHED = "(unfinished copy)"
_STUDY, _OWNER = "study", "owner"


def copy_study(source_url: str, target_url: str, study_name: str) -> None:
    """Copy a study, its trials and its records into another database.

    Trials keep their numbers, states, parameters, values, attributes (links to artifacts among them) and reported
    values. Nobody trains in the copy what was RUNNING in the source: such a trial waits there, with its parameters and
    its number. Until the copy is complete the study has another name in the target; what an interrupted copy left is
    removed by the next one. The source stays as it is; no process should be working on the study meanwhile.
    A copy that :func:`optuna.copy_study` made in the target gets the records that it lacks.

    Args:
        source_url: The database that the study is in.
        target_url: The database that it should be in too; its tables are created where they are missing.
        study_name: The study's name in both.

    Raises:
        RecordsError: If one of the databases holds records of another schema version or cannot be reached.
        StudyError: If the source has no such study, or the target has another one of that name.
    """
    database = sqlite_file(source_url)
    if database is not None and not database.exists():
        raise StudyError(f"no study {study_name!r} in {display_url(source_url)}: there is no such file")
    source = target = None
    try:
        source, target = _open(source_url), _open(target_url)
        with database_lock(target.engine, f"study {study_name}", timeout=600.0):
            _copy(source, target, study_name)
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        reason = redact(redact(str(error.__cause__ or error).splitlines()[0], source_url), target_url)
        places = f"from {display_url(source_url)} into {display_url(target_url)}"
        raise StudyError(f"cannot copy the study {study_name!r} {places}: {reason}; try again") from error
    finally:
        for storage in (source, target):
            if storage is not None:
                storage.engine.dispose()


def _open(url: str) -> RDBStorage:
    full = with_driver(url)
    check_schema(full)
    return open_storage(full)


def _copy(source: RDBStorage, target: RDBStorage, name: str) -> None:
    source_id, unfinished = _find(source, name), f"{name} {_UNFINISHED}"
    if source_id is None:
        raise StudyError(f"no study {name!r} in {_place(source.engine)}")
    present = _find(target, name)
    if present is not None and _lacks_records(source, target, source_id, present, name):
        with source.engine.connect() as reading, target.engine.begin() as writing:
            _copy_rows(reading, writing, name)
        return
    if present is not None:
        raise StudyError(f"there is a study {name!r} in {_place(target.engine)} already; give study.name another name")
    remains = _find(target, unfinished)
    if remains is not None:
        target.delete_study(remains)
    with database_lock(target.engine, "schema"):
        Records(target.engine, name).create_tables()
    target_id = target.create_new_study(source.get_study_directions(source_id), unfinished)
    for key, value in source.get_study_user_attrs(source_id).items():
        target.set_study_user_attr(target_id, key, value)
    attributes = source.get_study_system_attrs(source_id)
    for key, value in attributes.items():
        if not _TRIAL_NOTE.match(key):
            target.set_study_system_attr(target_id, key, value)
    for trial in sorted(source.get_all_trials(source_id), key=lambda trial: trial.number):
        copied = target.create_new_trial(target_id, template_trial=_untaken(trial))
        _copy_note(attributes, target, (source_id, trial._trial_id), (target_id, copied))
    with source.engine.connect() as reading, target.engine.begin() as writing:
        _copy_rows(reading, writing, name)
        writing.execute(update(StudyModel).where(StudyModel.study_id == target_id).values(study_name=name))


def _lacks_records(source: RDBStorage, target: RDBStorage, theirs: int, ours: int, name: str) -> bool:
    """Tell whether a study of the target is a copy of the trials alone."""
    with database_lock(target.engine, "schema"):
        Records(target.engine, name).create_tables()
    copied, originals = (
        [(trial.number, trial.params, trial.values) for trial in storage.get_all_trials(study) if _is_complete(trial)]
        for storage, study in ((target, ours), (source, theirs))
    )
    return bool(copied) and copied == originals and not Records(target.engine, name).latest()


def _is_complete(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE


def _copy_note(attributes: dict[str, Any], target: RDBStorage, there: tuple[int, int], here: tuple[int, int]) -> None:
    """Copy the note of a trial: optuna-dashboard keeps it in the study, under the database's own number of the trial.

    Args:
        attributes: System attributes of the study that has it.
        target: The database that shall have it.
        there: The study's and the trial's number in the source, which stand in paths within the note too.
        here: Those in the target.
    """
    from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version

    note = get_note_from_system_attrs(attributes, there[1])["body"]
    if note:
        before, after = (f"/artifacts/{study}/{trial}/" for study, trial in (there, here))
        save_note_with_version(target, *here, 1, note.replace(before, after))


_TRIAL_NOTE = re.compile(r"dashboard:\d+:note_")


def _find(storage: RDBStorage, name: str) -> int | None:
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None


def _place(engine: Engine) -> str:
    return display_url(engine.url.render_as_string(hide_password=False))


def _untaken(trial: FrozenTrial) -> FrozenTrial:
    """Return a running trial as one that waits; others as they are."""
    if trial.state is not TrialState.RUNNING:
        return trial
    trial.state, trial.datetime_start = TrialState.WAITING, None
    return trial


def _copy_rows(reading: Connection, writing: Connection, name: str) -> None:
    """Copy the rows of a study, and those that point at them, in the place of what a deleted namesake left."""
    for table in reversed(Base.metadata.sorted_tables):
        if (theirs := _of_study(table, name)) is not None:
            writing.execute(delete(table).where(theirs))
    present = set(inspect(reading).get_table_names())
    keys: dict[str, dict[Any, Any]] = {}
    for table in Base.metadata.sorted_tables:
        if table.name in present and (theirs := _of_study(table, name)) is not None:
            rows = reading.execute(select(table).where(theirs).order_by(*table.primary_key.columns)).mappings().all()
            keys[table.name] = _insert(writing, table, rows, keys)


def _insert(
    writing: Connection, table: Table, rows: Sequence[RowMapping], keys: dict[str, dict[Any, Any]]
) -> dict[Any, Any]:
    """Insert rows under new keys, and return the new ones of those that other tables may point at by the old."""
    made_up = table.autoincrement_column  # the database's own numbers, other ones in every database
    renamed, children = {}, []
    for row in rows:
        values = {column.name: _portable(column, row[column.name], keys) for column in table.columns}
        if made_up is None:
            children.append(values)
            continue
        old = values.pop(made_up.name)
        if _has_children(table):
            inserted = writing.execute(table.insert().values(values)).inserted_primary_key
            renamed[old] = inserted[0] if inserted else None
        else:
            children.append(values)
    if children:
        writing.execute(table.insert(), children)
    return renamed


def _of_study(table: Table, name: str) -> ColumnElement[bool] | None:
    """Return the condition that a study's rows meet: by their own column, or through the rows that they point at."""
    if _STUDY in table.columns:
        return table.c[_STUDY] == name
    for column, key in _pointers(table):
        if (parents := _of_study(key.table, name)) is not None:
            return column.in_(select(key).where(parents))
    return None


def _pointers(table: Table) -> list[tuple[Column[Any], Column[Any]]]:
    return [(column, key.column) for column in table.columns for key in column.foreign_keys]


def _has_children(table: Table) -> bool:
    return any(key.table is table for other in Base.metadata.sorted_tables for _, key in _pointers(other))


def _portable(column: Column[Any], value: Any, keys: dict[str, dict[Any, Any]]) -> Any:
    """Return a value as it should be in the target."""
    for key in column.foreign_keys:
        value = keys.get(key.column.table.name, {}).get(value, value)
    if column.name == _OWNER and column.nullable:
        return None  # nobody has the right to do a job of the copy
    if isinstance(value, datetime) and isinstance(column.type, DateTime) and column.type.timezone:
        # SQLite forgets the zone, which is UTC, and a server would take the time for a local one.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value
