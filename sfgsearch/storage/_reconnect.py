"""Waiting for a database that is away, such as through its restart."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Engine, event

from sfgsearch.storage._outage import is_outage

_logger = logging.getLogger(__name__)
_listeners: WeakKeyDictionary[Engine, Callable[..., Any]] = WeakKeyDictionary()
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


def retry_connections(engine: Engine, seconds: float, on_wait: Callable[[float], None] | None = None) -> None:
    """Retry connections of an engine with exponential backoff while the server is away.

    Whoever asks the engine for a connection waits, trying again after 0.1 s and then more and more rarely, up to every
    5 s. One warning says that the waiting begins, one line that the server is back. A wrong password or an unknown
    database is an error at once. Statements that the outage interrupts still fail (see :func:`is_outage`): only their
    callers know whether to repeat them.

    Args:
        engine: The engine; its earlier patience ends.
        seconds: How long to wait, per connection; 0 is not at all.
        on_wait: Called before every pause with the seconds waited so far; what it raises ends the waiting.
    """
    earlier = _listeners.pop(engine, None)
    if earlier is not None:
        event.remove(engine, "do_connect", earlier)
    if seconds <= 0:
        return
    host = engine.url.host or engine.url.query.get("host") or engine.url.database or "database"
    waiting = _Waiting(str(host), seconds)

    def connect(dialect: Dialect, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> Any:
        start, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                connection = dialect.connect(*arguments, **parameters)
            except Exception as error:
                waited = time.monotonic() - start
                if not is_outage(error) or waited >= seconds:
                    waiting.ends()
                    raise
                waiting.begins()
            else:
                waiting.ends(back=True)
                return connection
            if on_wait is not None:
                on_wait(waited)
            # Jitter: many workers that lost the server at once must not all come back at once.
            time.sleep(min(pause * random.uniform(0.5, 1.5), max(start + seconds - time.monotonic(), 0.0)))
            pause = min(pause * 2, _LONGEST_PAUSE)

    event.listen(engine, "do_connect", connect)
    _listeners[engine] = connect


class _Waiting:
    """Logs the begin and the end of an outage once, whatever the number of threads that wait."""

    def __init__(self, host: str, seconds: float) -> None:
        self._host, self._seconds = host, seconds
        self._since: float | None = None
        self._lock = threading.Lock()

    def begins(self) -> None:
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                _logger.warning("the database on %s is away; waiting up to %g s for it", self._host, self._seconds)

    def ends(self, back: bool = False) -> None:
        with self._lock:
            if self._since is not None and back:
                _logger.warning("the database on %s is back after %.1f s", self._host, time.monotonic() - self._since)
            self._since = None
