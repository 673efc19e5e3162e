"""Moving a study from one database to another."""

from __future__ import annotations

import optuna
from optuna.storages._rdb.models import StudyModel
from sqlalchemy import Engine, update

from sfgsearch.errors import StudyError
from sfgsearch.records import Records
from sfgsearch.search._study import engine_of, has_study
from sfgsearch.storage import database_lock, open_storage

_PARTIAL = " (being copied)"


def copy_study(source: str, target: str, name: str) -> None:
    """Copy a study with its trials and records into another database; a copy that is cut short is no study there.

    Trials keep numbers, states, parameters, attributes and artifact links. Who works on what is not copied: nobody
    may work on the study meanwhile.

    Args:
        source: The database that has it.
        target: The database that gets it.
        name: The study's name.

    Raises:
        StudyError: If the target has a study of that name.
    """
    if has_study(target, name):
        raise StudyError(f"the database to copy to has a study {name!r} already; give study.name another name")
    taken, given = open_storage(source), open_storage(target)
    engine = engine_of(given)
    if engine is None:
        raise StudyError("a study can only be copied into a database")
    with database_lock(engine, f"copy of {name}"):
        partial = name + _PARTIAL
        if has_study(target, partial):  # what a copy that was cut short left
            optuna.delete_study(study_name=partial, storage=given)
        original = optuna.load_study(study_name=name, storage=taken)
        copy = optuna.create_study(study_name=partial, storage=given, directions=original.directions)
        for key, value in original.user_attrs.items():
            copy.set_user_attr(key, value)
        for key, value in taken.get_study_system_attrs(original._study_id).items():
            given.set_study_system_attr(copy._study_id, key, value)
        for trial in original.get_trials(deepcopy=False):
            given.create_new_trial(copy._study_id, template_trial=trial)
        _copy_records(engine_of(taken), engine, name)
        _rename(engine, partial, name)


def _copy_records(source: Engine | None, target: Engine, name: str) -> None:
    """Copy the records of trainings, whose rows get new numbers."""
    if source is None:
        return
    records = Records(target, name)
    records.clear()
    for record in Records(source, name).all():
        records.add(record)


def _rename(engine: Engine, partial: str, name: str) -> None:
    """Give a copy the name of its study, in one statement."""
    with engine.begin() as connection:
        connection.execute(update(StudyModel).where(StudyModel.study_name == partial).values(study_name=name))
