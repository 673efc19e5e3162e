"""Outages of a database server: which errors mean one, and retrying what it interrupted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InvalidRequestError

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_DRIVER_ERRORS = {"OperationalError", "InterfaceError", "InternalError"}
_SQL_STATES = re.compile(r"08...|57P0[1235]|53300|25P03")
"""PostgreSQL: connection exceptions, shutdown, crash, start-up, idle sessions ended, too many clients."""

_MYSQL_CODES = {1040, 1053, 1203, 1927, 2002, 2003, 2006, 2013, 2055, 3169, 4031}
"""Too many connections, shutdown, connection killed, cannot connect, gone away, lost, idle session ended."""

_AWAY = re.compile(
    r"connection refused|connection reset|connection timed out|timeout expired|timed out|no route to host"
    r"|network is unreachable|host is (?:down|unreachable)|broken pipe|no such file or directory"
    r"|could not receive data|could not send data|could not connect|could not translate host name"
    r"|failed to resolve host|name or service not known|temporary failure in name resolution"
    r"|server closed the connection|ssl connection has been closed|ssl syscall error|unexpected eof"
    r"|connection (?:already )?(?:is )?(?:closed|lost)|connection not open|connection pointer is null"
    r"|the connection is (?:closed|lost)|consuming input failed|server has gone away|lost connection"
    r"|can't reconnect until invalid transaction",
    re.IGNORECASE,
)
_FATAL = re.compile(r"(?:FATAL|PANIC):\s*(.*)")
_FATAL_AWAY = re.compile(
    r"starting up|shutting down|accepting connections|recovery mode|too many (?:clients|connections)"
    r"|terminating connection|remaining connection slots|no more connections allowed|server_login_retry"
    r"|cannot connect to server",
    re.IGNORECASE,
)


def is_outage(error: BaseException) -> bool:
    """Return whether an error means that the database server is away: restarting, unreachable or full.

    Args:
        error: SQLAlchemy's, a driver's, or any error with one of these in its chain of causes, such as Optuna's
            ``StorageInternalError``.

    Returns:
        False for all that waiting does not heal: a wrong password, an unknown database, a statement that fails.
    """
    return any(_says_away(link) for link in _chain(error))


def retry_on_outage(call: Callable[[], T], seconds: float = 600.0) -> T:
    """Retry a call with exponential backoff while the database is unreachable, and return what it returns.

    Args:
        call: What uses the database, and may be done twice: an outage can hide that it was done.
        seconds: How long to go on trying.

    Raises:
        Exception: What the call raises that is no outage, or is one still when the time is over.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            return call()
        except Exception as error:
            if not is_outage(error) or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        pending += [link.__cause__, getattr(link, "orig", None)]


def _says_away(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    if isinstance(error, InvalidRequestError):
        return "Can't reconnect until invalid transaction" in str(error)
    names = {base.__name__ for base in type(error).__mro__ if base.__module__ != "builtins"}
    if not names & _DRIVER_ERRORS or type(error).__module__.startswith("sqlite3"):
        return False
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is not None:
        return _SQL_STATES.fullmatch(state) is not None
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code in _MYSQL_CODES or (code == 0 and "InterfaceError" in names)  # 0: PyMySQL lost its socket
    return _message_says_away(str(error))


def _message_says_away(message: str) -> bool:
    """Judge errors while connecting, of which libpq tells no SQL state; it may have tried several addresses."""
    message = re.sub(r'"[^"]*"', "", message)  # names of users, databases and hosts, which may be anything
    fatal = _FATAL.findall(message)
    if fatal:
        return all(_FATAL_AWAY.search(reason) for reason in fatal)
    refused = re.search(r"password|authentication", message)
    return refused is None and _AWAY.search(message) is not None
