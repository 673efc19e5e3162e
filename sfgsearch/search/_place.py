"""Where a study is: a server that it names, SQLite, or a PostgreSQL in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.search._study import has_study
from sfgsearch.search._transfer import copy_study, is_unfinished_copy
from sfgsearch.storage import EmbeddedPostgres, is_sqlite, sqlite_file, with_driver


@contextmanager
def study_storage(config: Config, *, parallel: bool = False) -> Iterator[str]:
    """Provide the database URL of a study in the block.

    A study that names a storage is there. Any other is in SQLite, which serves one process, until it is opened for
    several: then, and from then on, it is in a PostgreSQL that keeps its data in the study's folder and runs as long as
    somebody uses it. What SQLite holds of the study moves along.

    Args:
        config: The study file.
        parallel: Whether several processes will work on it.

    Raises:
        StudyError: If several processes are to work on SQLite, or the server cannot be started.
    """
    if config.study.storage is not None:
        url = with_driver(config.study.storage)
        if parallel and is_sqlite(url):
            raise StudyError(
                f"{config.path}: SQLite serves one process at a time; leave study.storage out, and several workers "
                "share a PostgreSQL in the study's folder, or give the URL of a PostgreSQL or MySQL server"
            )
        yield url
        return
    server = EmbeddedPostgres(config.folder)
    if not parallel and not server.exists():
        yield config.storage
        return
    config.folder.mkdir(parents=True, exist_ok=True)
    with server as url:
        _move(config, url)
        yield url


def _move(config: Config, url: str) -> None:
    """Copy what SQLite holds of a study that the server does not have."""
    database = sqlite_file(config.storage)
    if database is None or not database.exists() or _is_there(config, url):
        return
    with sole_process(config):
        if has_study(config.storage, config.name) and not _is_there(config, url):
            copy_study(config.storage, url, config.name)


def _is_there(config: Config, url: str) -> bool:
    return has_study(url, config.name) and not is_unfinished_copy(url, config.name)


@contextmanager
def sole_process(config: Config) -> Iterator[None]:
    """Keep a second process off a SQLite database, whose running trials would be taken for left-overs.

    Raises:
        StudyError: If another process runs the study.
    """
    database = sqlite_file(config.storage)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{database}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StudyError(
            f"{config.path}: another process runs a study in {database}, and SQLite serves one at a time; wait for "
            "it or stop it, or start several workers with sfgsearch launch, which brings a server of its own"
        ) from error
    try:
        yield
    finally:
        lock.release()
