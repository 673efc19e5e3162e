"""Copying a study from one database into another, such as from SQLite into a server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Column, ColumnElement, Connection, DateTime, RowMapping, Table, delete, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from sfgsearch._optuna import resume, study_id, trial_id
from sfgsearch.errors import StudyError
from sfgsearch.records import Records
from sfgsearch.records._models import Base
from sfgsearch.records._store import check_schema
from sfgsearch.search._queue import requeue_running
from sfgsearch.storage import database_lock, display_url, open_storage, redact, sqlite_file, with_driver

_COPY = "copy"
"""Job of a study whose copy is not complete yet."""

_STUDY, _OWNER = "study", "owner"


def copy_study(source_url: str, target_url: str, study_name: str) -> None:
    """Copy a study, its trials and its records into another database.

    Trials keep their numbers, states, parameters, values, attributes (links to artifacts among them), notes and
    reported values. Nobody trains in the copy what was RUNNING in the source: such a trial waits there, with its
    parameters and its number. What an interrupted copy left is removed by the next one. The source stays as it is; no
    process should be working on the study meanwhile. A copy that :func:`optuna.copy_study` made in the target gets the
    records that it lacks.

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
        route = f"from {display_url(source_url)} into {display_url(target_url)}"
        raise StudyError(f"cannot copy the study {study_name!r} {route}: {reason}; try again") from error
    finally:
        for storage in (source, target):
            if storage is not None:
                storage.engine.dispose()


def is_unfinished_copy(url: str, name: str) -> bool:
    """Return whether what a database holds of a study is what an interrupted copy left, or one that goes on now."""
    storage = _open(url)
    try:
        records = Records(storage.engine, name)
        return records.have_jobs and _COPY in records.jobs.all([_COPY])
    finally:
        storage.engine.dispose()


def _open(url: str) -> RDBStorage:
    full = with_driver(url)
    check_schema(full)
    return open_storage(full)


def _copy(source: RDBStorage, target: RDBStorage, name: str) -> None:
    original = _find(source, name)
    if original is None:
        raise StudyError(f"no study {name!r} in {_shown(source)}")
    records = Records(target.engine, name)
    with database_lock(target.engine, "schema"):
        records.create_tables()
    present = _find(target, name)
    if present is not None and records.jobs.all([_COPY]):
        optuna.delete_study(study_name=name, storage=target)
        present = None
    if present is None:
        records.clear()
        records.jobs.claim(_COPY, _COPY, _COPY, None)  # until the copy is complete
        optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
        copied = optuna.load_study(study_name=name, storage=target)
        _copy_notes(original, copied)
        requeue_running(copied)
    elif not _lacks_records(original, present, records):
        raise StudyError(f"there is a study {name!r} in {_shown(target)} already; give study.name another name")
    with source.engine.connect() as reading, target.engine.begin() as writing:
        _copy_rows(reading, writing, name)


def _lacks_records(original: optuna.Study, copied: optuna.Study, records: Records) -> bool:
    """Return whether a study of the target is a copy of the trials alone."""
    complete, originals = (
        [
            (trial.number, trial.params, trial.values)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]
        for study in (copied, original)
    )
    return bool(complete) and complete == originals and not records.latest()


def _copy_notes(original: optuna.Study, copied: optuna.Study) -> None:
    """Give trials their notes: optuna-dashboard keeps them in the study, under the database's own ids of trials.

    These ids, which differ, stand in paths of pictures too. What the copied study attributes hold under ids of the
    source is overwritten.
    """
    from optuna_dashboard import get_note, save_note  # takes two seconds to load

    theirs, ours = (study.get_trials(deepcopy=False) for study in (original, copied))
    for there, here in zip(theirs, ours, strict=True):
        note, copy = (get_note(resume(study, trial)) for study, trial in ((original, there), (copied, here)))
        before = f"/artifacts/{study_id(original)}/{trial_id(there)}/"
        note = note.replace(before, f"/artifacts/{study_id(copied)}/{trial_id(here)}/")
        if note != copy:
            save_note(resume(copied, here), note)


def _find(storage: RDBStorage, name: str) -> optuna.Study | None:
    try:
        return optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler())
    except KeyError:
        return None


def _shown(storage: RDBStorage) -> str:
    return display_url(storage.engine.url.render_as_string(hide_password=False))


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
