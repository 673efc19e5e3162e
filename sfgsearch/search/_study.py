"""Creating, continuing and opening studies."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sfgsearch._faults import first_line
from sfgsearch._optuna import engine_of
from sfgsearch.config import Config
from sfgsearch.errors import RecordsError, StudyError
from sfgsearch.records import Records
from sfgsearch.records._store import check_schema, has_table
from sfgsearch.search._identity import StudyIdentity, check_identity, check_recorded, note_imports
from sfgsearch.search._queue import MANUAL_NAME, drop_surplus, enqueue_missing
from sfgsearch.search._sampling import build_pruner, build_sampler
from sfgsearch.storage import (
    EmbeddedPostgres,
    database_lock,
    disk_error,
    display_url,
    open_storage,
    redact,
    sqlite_file,
    with_driver,
)

if TYPE_CHECKING:
    from sfgsearch.search._objective import PlainObjective

_logger = logging.getLogger(__name__)
_OPTUNA_TABLE = "studies"
_RECONNECT_SECONDS = 600.0
"""Seconds that a call waits for a database server that went away, such as through its restart."""

SETTINGS = "sfgsearch.settings"
"""Study attribute: the settings under which a study was created, as JSON."""

SCORE = "relative error"
"""Name of the objective in Optuna's plots."""

TRIALS = "sfgsearch.trials"
"""Study attribute: trials in all, where a command line said so; null for the quotas of the file."""

_FREE = {"quota", "comparison", "execution", "review", "sampler", "pruner"}
_CLOSED = ("data.", "backbone.", "tasks.")


def create_study(
    config: Config,
    storage: str | BaseStorage | None = None,
    *,
    objective: PlainObjective | None = None,
    join: bool = False,
    enqueue: bool = True,
    note: Callable[[str], None] = _logger.warning,
) -> optuna.Study:
    """Create the study of a study file, or continue it, and enqueue the trials that it lacks.

    The study is a plain Optuna study: pass it your own sampler or pruner, call ``study.optimize`` with an
    :class:`~sfgsearch.Objective` and callbacks of your own. Trials are enqueued with their kind fixed, so that every
    kind gets its quota; see :func:`sfgsearch.search.enqueue_missing`.

    Args:
        config: The study file.
        storage: Where to keep it: a database URL or an Optuna storage; what the study file says if None.
        objective: The study's objective, where there is one already, which saves loading the data again.
        join: Keep to the trials in all that an existing study was last told, instead of telling it the configuration's.
        enqueue: Enqueue the trials that it lacks. Workers do without: each enqueues one when it is free.
        note: Takes a sentence about what changed since the study was last continued, where that is allowed.

    Raises:
        ConfigError: If data, network or manual candidates cannot be built; the database is not opened then.
        RecordsError: If the database holds records of another schema version or cannot be opened.
        StudyError: If the study exists with other settings, data or parameters of the network, records of its trials
            are missing, or its Optuna is of another version.
    """
    # Opening a study needs neither torch nor SciPy.

    # These need torch, which commands that only open a study do without.
    from sfgsearch.config import build_experiment, manual_candidates
    from sfgsearch.search._proportions import AllocationSpace

    if objective is None:
        manual_candidates(config, (experiment := build_experiment(config)).spec)
    else:
        experiment = objective.experiment
    identity = StudyIdentity.of(experiment)
    opened = storage or _url_of(config)
    if isinstance(opened, str):
        opened = _open(config, opened)
    engine = engine_of(opened)
    if engine is not None:
        check_schema(engine)
        with database_lock(engine, "schema"):
            Records(engine, config.name).create_tables()
    # Workers that start together: one creates the study and enqueues its trials, the others then find them.
    with _planning(engine, config.name):
        study = _create(config, opened, experiment.spec.task_names)
        _check_settings(study, config)
        check_identity(study, config, identity)
        note_imports(study, config, note)
        study.sampler = build_sampler(config.sampler, config.study.seed, len(study.get_trials(deepcopy=False)))
        check_recorded(study, config, records_of(study))
        if not join or TRIALS not in study.user_attrs:
            study.set_user_attr(TRIALS, config.trials)
        plan = as_planned(study, config)
        drop_surplus(study, plan)
        if enqueue:
            space = AllocationSpace(config.searched, experiment.spec.filters, experiment.spec.task_names)
            enqueue_missing(study, plan, space.warm_starts())
    study.pruner = build_pruner(config.pruner)
    return study


def as_planned(study: optuna.Study, config: Config) -> Config:
    """Return the configuration with the trials in all that the study was told, which any command line may have set."""
    return config.with_trials(study.user_attrs.get(TRIALS, config.trials))


def planning(study: optuna.Study, timeout: float = 60.0) -> AbstractContextManager[None]:
    """Exclude other processes that change the plan of the same study.

    Args:
        study: The study.
        timeout: Seconds to wait for another process that is at it.

    Raises:
        LockHeldError: On entering, if that takes longer.
    """
    return _planning(engine_of(study), study.study_name, timeout)


def _planning(engine: Engine | None, name: str, timeout: float = 60.0) -> AbstractContextManager[None]:
    return nullcontext() if engine is None else database_lock(engine, f"study {name}", timeout)


def _create(config: Config, storage: BaseStorage, tasks: Sequence[str]) -> optuna.Study:
    """Create or open Optuna's study.

    Raises:
        StudyError: If it exists with another number of objectives.
    """
    names = [f"relative error of {task}" for task in tasks] if config.study.objective == "per_task" else [SCORE]
    try:
        study = optuna.create_study(
            study_name=config.name, storage=storage, directions=["minimize"] * len(names), load_if_exists=True
        )
    except ValueError as error:
        raise StudyError(f"{config.path}: {error}") from error
    if len(study.directions) != len(names):
        raise StudyError(
            f"{config.path}: study.objective asks for {len(names)} objectives, the study {config.name!r} in the "
            f"database has {len(study.directions)}; give study.name another name"
        )
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(names)  # the axes of Optuna's plots
    return study


def load_study(config: Config, storage: str | None = None) -> optuna.Study:
    """Open the existing study of a study file, changing nothing.

    Raises:
        RecordsError: If the database holds records of another schema version or cannot be opened.
        StudyError: If there is no such study, or records of its trials are missing.
    """
    url = storage or _url_of(config)
    remedy = f"start it with: sfgsearch run {config.path}"
    database = sqlite_file(url)
    if database is not None and not database.exists():
        raise StudyError(f"{config.path}: no study yet in {display_url(url)}; {remedy}")
    try:
        has_studies = has_table(with_driver(url), _OPTUNA_TABLE)
    except RecordsError as error:
        raise RecordsError(redact(f"{config.path}: study.storage: {error}", url)) from error
    try:
        study = optuna.load_study(study_name=config.name, storage=_open(config, url)) if has_studies else None
    except KeyError:
        study = None
    if study is None:
        raise StudyError(f"{config.path}: no study {config.name!r} in {display_url(url)}; {remedy}")
    check_recorded(study, config, records_of(study))
    return study


def _url_of(config: Config) -> str:
    """Return the URL of a study that was given none.

    Raises:
        StudyError: If it is in the PostgreSQL of its folder, which somebody must start.
    """
    if config.study.storage is None and EmbeddedPostgres(config.folder).exists():
        raise StudyError(
            f"{config.path}: the study is in the PostgreSQL in {config.folder}; open it with sfgsearch.search."
            "study_storage(config) as url, and pass that as storage"
        )
    return config.storage


def has_study(url: str, name: str) -> bool:
    """Return whether a database holds a study of a name, without changing anything.

    Raises:
        RecordsError: If the database cannot be opened.
    """
    if not has_table(url, _OPTUNA_TABLE):
        return False
    try:
        optuna.load_study(study_name=name, storage=open_storage(url))
    except KeyError:
        return False
    return True


def records_of(study: optuna.Study) -> Records | None:
    """Return the records beside a study; None if the study is not in a database."""
    engine = engine_of(study)
    return None if engine is None else Records(engine, study.study_name)


def seed_of(study: optuna.Study, config: Config) -> int:
    """Return the seed that a study was created with, which a command line may have set; else the file's."""
    settings = json.loads(study.user_attrs.get(SETTINGS, "{}"))
    return int(settings.get("study.seed", config.study.seed))


def is_single_process(study: optuna.Study) -> bool:
    """Return whether a study is in SQLite, where only one process may work on it at a time."""
    engine = engine_of(study)
    return engine is not None and engine.dialect.name == "sqlite"


def _open(config: Config, url: str) -> RDBStorage:
    database = sqlite_file(url)
    try:
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
        full = with_driver(url)
        check_schema(full)
        return open_storage(full, reconnect_seconds=_RECONNECT_SECONDS)
    except RecordsError as error:
        raise RecordsError(redact(f"{config.path}: study.storage: {error}", url)) from error
    except StudyError as error:
        raise StudyError(redact(f"{config.path}: study.storage: {error}", url)) from error
    except (RuntimeError, ImportError, OSError, SQLAlchemyError, StorageInternalError) as error:
        about_disk = disk_error(error, url)
        if about_disk is not None:
            raise StudyError(f"{config.path}: study.storage: {about_disk}") from error
        reason = redact(first_line(error.__cause__ or error), url)
        raise StudyError(
            f"{config.path}: study.storage: cannot open the database {display_url(url)}: {reason}"
        ) from error


def _settings(config: Config) -> dict[str, Any]:
    """Return what must not change while a study runs, flattened to dotted keys."""
    sections = config.model_dump(mode="json", exclude=_FREE)
    for key in ("storage", "folder", "name", "imports"):
        sections["study"].pop(key)
    for key in ("device", "threads"):
        sections["training"].pop(key)
    sections["data"].pop("path", None)
    sections["manual"].pop("methods")
    return _flatten(sections)


def _flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        nested = isinstance(value, dict) and value and "low" not in value  # a range is one value
        flat |= _flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def _check_settings(study: optuna.Study, config: Config) -> None:
    """Remember the settings of a new study; refuse to continue one under other settings."""
    if any(direction is not StudyDirection.MINIMIZE for direction in study.directions):
        raise StudyError(
            f"{config.path}: the study {study.study_name!r} in the database maximises; sfgsearch minimises errors: "
            "give study.name another name"
        )
    now = json.loads(json.dumps(_settings(config)))
    stored = study.user_attrs.get(SETTINGS)
    if stored is None:
        if not study.get_trials(deepcopy=False):  # a namesake that was deleted may have left records
            records = records_of(study)
            if records is not None:
                records.clear()
        study.set_user_attr(SETTINGS, json.dumps(now))
        return
    then = json.loads(stored)
    trained = {trial.user_attrs.get(MANUAL_NAME) for trial in study.get_trials(deepcopy=False)}
    closed = (*_CLOSED, *(f"manual.options.{name}." for name in trained if name))
    for key in sorted(then.keys() | now.keys()):
        in_both = key in then and key in now
        if then.get(key) != now.get(key) and (in_both or key.startswith(closed)):
            raise StudyError(
                f"{config.path}: {key} is {now.get(key)!r}, but the study {study.study_name!r} was created with "
                f"{then.get(key)!r}; set it back, or give study.name a new name"
            )
