"""Seeing that a connection lives without asking the server."""

from __future__ import annotations

import select
import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

_IDLE = 5.0
"""Seconds after which a firewall may have forgotten a connection, so that the server is asked."""


def ping_rarely(engine: Engine) -> None:
    """Let an engine with ``pool_pre_ping`` ask the server only about connections that may be dead.

    A pool asks before every use, which takes as long as the use itself where that is one statement. When a server ends
    a connection, this side's socket has something to read; one that has nothing, and was in use a moment ago, lives as
    surely as an answer would show. Other drivers than psycopg go on asking.

    Args:
        engine: The engine.
    """
    if engine.dialect.driver != "psycopg":
        return
    ask, seen = engine.dialect.do_ping, WeakKeyDictionary[Any, float]()

    def ping(connection: Any) -> bool:
        now = time.monotonic()
        lives = (now - seen.get(connection, 0.0) < _IDLE and not _has_news(connection)) or ask(connection)
        seen[connection] = now
        return lives

    setattr(engine.dialect, "do_ping", ping)  # noqa: B010 - the place that pools ask, of this engine only


def _has_news(connection: Any) -> bool:
    """Tell whether a connection has something to read, such as its end."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
