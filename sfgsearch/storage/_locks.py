"""Locks that processes on different machines share through their database."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sfgsearch.errors import LockHeldError
from sfgsearch.storage._outage import is_outage
from sfgsearch.storage._urls import display_url, sqlite_file

_logger = logging.getLogger(__name__)
_PREFIX = "sfgsearch:"
_LOCK_NOT_AVAILABLE = "55P03"


@contextmanager
def database_lock(engine: Engine, name: str, timeout: float = 60.0) -> Iterator[None]:
    """Exclude all other processes that use the same database, on any machine, from a lock of this name.

    The lock locks no table: other connections, the holder's own too, work on meanwhile. It ends with the block or
    with the holder's process, however that dies. It is not re-entrant. A restart of the database ends it too, and the
    rest of the block is then unprotected (a warning says so): keep blocks short, and right when repeated.

    Args:
        engine: The database. PostgreSQL, MySQL and MariaDB lock by themselves, on a connection of their own; a SQLite
            file is locked through a file beside it, SQLite in memory not at all.
        name: What is locked; other names in the same database do not collide.
        timeout: Seconds to wait for it.

    Raises:
        LockHeldError: If another process holds the lock for longer than that.
    """
    if engine.dialect.name == "sqlite":
        with _file_lock(engine, name, timeout):
            yield
        return
    acquire, release = _DIALECTS[engine.dialect.name]
    connection = _acquire(engine, name, timeout, acquire)
    try:
        yield
    finally:
        _release(connection, name, release)


def lock_key(name: str) -> int:
    """Return the number of PostgreSQL's advisory lock for a name: 63 bits, the same in every process."""
    return int.from_bytes(hashlib.sha256((_PREFIX + name).encode()).digest()[:8], "big") >> 1


@contextmanager
def _file_lock(engine: Engine, name: str, timeout: float) -> Iterator[None]:
    database = sqlite_file(engine.url.render_as_string(hide_password=False))
    if database is None:
        yield
        return
    lock = FileLock(_lock_path(database, name))
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise _held(engine, name, timeout) from error
    try:
        yield
    finally:
        lock.release()


def _lock_path(database: Path, name: str) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return database.with_name(f".{database.name}.{digest}.lock")


def _acquire(engine: Engine, name: str, timeout: float, acquire: Callable[..., bool]) -> Connection:
    """Return a connection that holds the lock, trying again where the database restarts meanwhile."""
    deadline = time.monotonic() + timeout
    while True:
        left = max(deadline - time.monotonic(), 0.001)
        connection = engine.connect()
        try:
            if acquire(connection, name, left):
                return connection
        except DBAPIError as error:
            connection.close()
            if is_outage(error) and time.monotonic() < deadline:
                continue
            raise
        except BaseException:
            connection.invalidate()  # a signal in the middle: the pool must not get a connection that may hold it
            connection.close()
            raise
        connection.close()
        raise _held(engine, name, timeout)


def _release(connection: Connection, name: str, release: Callable[[Connection, str], None]) -> None:
    try:
        release(connection, name)
    except SQLAlchemyError as error:
        connection.invalidate()
        reason = "the database went away" if is_outage(error) else type(error).__name__
        _logger.warning("the lock %r was lost before it was released: %s", name, reason)
    except BaseException:
        connection.invalidate()
        raise
    finally:
        connection.close()


def _held(engine: Engine, name: str, timeout: float) -> LockHeldError:
    place = display_url(engine.url.render_as_string(hide_password=False))
    return LockHeldError(
        f"the lock {name!r} in the database {place} has been held by another process for more than {timeout:g} "
        "seconds; end that process, or try again later"
    )


def _acquire_postgresql(connection: Connection, name: str, timeout: float) -> bool:
    # An administrator's limits on idle and long statements must not end the lock; the server looks for a holder whose
    # machine died every few seconds. All of it lasts as long as the transaction, so poolers of transactions do.
    settings = {
        "lock_timeout": f"{max(int(timeout * 1000), 1)}ms",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    connection.execute(select(*(func.set_config(key, value, True) for key, value in settings.items())))
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_key(name)})
    except DBAPIError as error:
        if _sql_state(error.orig) == _LOCK_NOT_AVAILABLE:
            return False
        raise
    return True


def _release_postgresql(connection: Connection, _name: str) -> None:
    connection.execute(text("SELECT 1"))  # tells whether the connection, and so the lock, lived until now
    connection.rollback()


def _sql_state(error: Any) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _acquire_mysql(connection: Connection, name: str, timeout: float) -> bool:
    return connection.execute(text("SELECT GET_LOCK(:name, :timeout)"), _mysql(connection, name, timeout)).scalar() == 1


def _release_mysql(connection: Connection, name: str) -> None:
    if connection.execute(text("SELECT RELEASE_LOCK(:name)"), _mysql(connection, name)).scalar() != 1:
        connection.invalidate()
        _logger.warning("the lock %r was lost before it was released: the connection was replaced", name)


def _mysql(connection: Connection, name: str, timeout: float | None = None) -> dict[str, Any]:
    """Return parameters for MySQL, whose locks belong to the server, not to a database, and have short names."""
    scope = f"{connection.engine.url.database}/{name}"
    parameters: dict[str, Any] = {"name": _PREFIX + hashlib.sha256(scope.encode()).hexdigest()[:32]}
    return parameters if timeout is None else {**parameters, "timeout": timeout}


_DIALECTS: dict[str, tuple[Callable[..., bool], Callable[[Connection, str], None]]] = {
    "postgresql": (_acquire_postgresql, _release_postgresql),
    "mysql": (_acquire_mysql, _release_mysql),
    "mariadb": (_acquire_mysql, _release_mysql),
}
