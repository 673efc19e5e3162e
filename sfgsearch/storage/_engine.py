"""Opening Optuna's storage in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, column, create_engine, inspect, select, table

from sfgsearch.errors import StudyError
from sfgsearch.storage._disks import name_disk_errors
from sfgsearch.storage._locks import database_lock
from sfgsearch.storage._reconnect import retry_connections
from sfgsearch.storage._urls import EMBEDDED, parse_url, with_driver

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

_EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_LIBPQ = ("psycopg", "psycopg2")
_USES_BEFORE_PREPARED = 2
_KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""libpq: give up connecting after 10 s, notice a server or network that is gone after a minute."""


def open_storage(url: str, *, reconnect_seconds: float = 0.0) -> RDBStorage:
    """Open Optuna's storage in a database, creating its tables where they are missing.

    Any number of processes may open an empty database at once: one creates the tables, the others wait for it.

    Args:
        url: The database.
        reconnect_seconds: How long every later use waits for a server that is away; see :func:`retry_connections`.
            Opening does not wait: a server that was never there is an error at once.

    Raises:
        StudyError: If the database's driver is missing, or its tables are being created by a process that hangs.
    """
    from optuna.storages import RDBStorage

    url = with_driver(url)
    try:
        engine = create_engine(url, **engine_options(url))
    except ImportError as error:
        raise _missing_driver(parse_url(url)) from error
    try:
        if _is_complete(engine):
            storage = RDBStorage(url, engine_kwargs=engine_options(url))
        else:
            with database_lock(engine, "schema"):
                storage = RDBStorage(url, engine_kwargs=engine_options(url))
    finally:
        engine.dispose()
    name_disk_errors(storage.engine)
    retry_connections(storage.engine, reconnect_seconds)
    return storage


def engine_options(url: str) -> dict[str, Any]:
    """Return what :func:`sqlalchemy.create_engine` should be given besides a URL for a worker's few connections.

    A worker's main thread and heartbeat thread keep one each; a lock takes another for a moment.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {}
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 6, "pool_recycle": 3600}
    arguments: dict[str, Any] = {}
    driver = parsed.get_driver_name()
    if driver in _LIBPQ:
        arguments = {**_KEEPALIVE, "application_name": "sfgsearch"}
    if driver == "psycopg":
        # Statements that a server prepared do not outlive the transaction of a pooler that may stand before it.
        is_direct = parsed.query.get("application_name") == EMBEDDED
        arguments["prepare_threshold"] = _USES_BEFORE_PREPARED if is_direct else None
    if driver == "pymysql":
        arguments = {"connect_timeout": 10}
    return options | {"connect_args": {key: value for key, value in arguments.items() if key not in parsed.query}}


def _is_complete(engine: Engine) -> bool:
    """Return whether a database has all that Optuna needs; the revision is what it writes last."""
    if not inspect(engine).has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        return connection.execute(select(table("alembic_version", column("version_num")))).first() is not None


def _missing_driver(url: URL) -> StudyError:
    extra = _EXTRAS.get(url.get_backend_name())
    remedy = f"pip install 'sfgsearch[{extra}]'" if extra else "install it"
    return StudyError(f"the driver of {url.drivername} databases is missing: {remedy}")
