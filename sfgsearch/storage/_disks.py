"""Saying which disk is full, where a database says at most that one is."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from sfgsearch.errors import StudyError
from sfgsearch.storage._embedded import is_embedded
from sfgsearch.storage._urls import display_url, sqlite_file

_SQLITE = {
    "SQLITE_FULL": "free some space there",
    "SQLITE_IOERR": "check the disk, the space on it and the limit on the size of files (ulimit -f)",
    "SQLITE_READONLY": "check that the file and its folder can be written to",
}
"""Remedies, by the beginning of SQLite's name of the error."""

_SERVERS = {"53100", 1021, 1114}
"""Disk full: PostgreSQL's SQL state, MySQL's numbers."""


def name_disk_errors(engine: Engine) -> None:
    """Raise errors that name file and remedy where the database of an engine cannot write.

    Optuna passes a driver's errors on as such about invalid data.
    """

    def explain(context: ExceptionContext) -> None:
        reason = disk_error(context.original_exception, engine.url.render_as_string(hide_password=False))
        if reason is not None:
            raise StudyError(reason) from context.original_exception

    event.listen(engine, "handle_error", explain)


def disk_error(error: BaseException, url: str) -> str | None:
    """Return what an error of a database says of its disk; None if it is about something else.

    Args:
        error: A driver's, or one with such an error in its chain of causes.
        url: The database.
    """
    file = sqlite_file(url)
    for link in _chain(error):
        name = getattr(link, "sqlite_errorname", "")
        helps = next((helps for key, helps in _SQLITE.items() if name.startswith(key)), None)
        if helps is not None:
            return f"the database {file or display_url(url)} cannot be written: {link}; {helps}"
        codes = {getattr(link, "sqlstate", None), getattr(link, "pgcode", None), *link.args[:1]}
        if not _SERVERS.isdisjoint(code for code in codes if isinstance(code, str | int)):
            if is_embedded(url):
                return "the disk is full on which the PostgreSQL in the study's folder is; free some space there"
            return f"the disk of the database {display_url(url)} is full; free some space on its server"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
