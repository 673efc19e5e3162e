"""A PostgreSQL inside a study's folder, for parallel work on one machine without any set-up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sfgsearch.errors import StudyError
from sfgsearch.storage import _file_locks
from sfgsearch.storage._postgres import PostgresServer, require_embedded
from sfgsearch.storage._urls import EMBEDDED, parse_url

_logger = logging.getLogger(__name__)
_TURN_SECONDS = 180.0
_WATCH_SECONDS, _RETRY_SECONDS = 0.5, 5.0


def is_embedded(url: str) -> bool:
    """Return whether a database is a server that this package starts, and starts again when it was killed."""
    return parse_url(url).query.get("application_name") == EMBEDDED


class EmbeddedPostgres:
    """The PostgreSQL inside a study's folder: started by its first user, stopped by its last, data kept.

    As a context manager it starts the server, or joins a running one, and gives its URL. Users are processes that are
    inside such a block, each with a shared lock on a file, so that killed ones do not count; what they left is used or
    put right by the next one. If the server is killed, one of its users starts it again on the same data and under the
    same URL, where those find it that wait for it; see :func:`retry_connections`. It listens on a socket that only its
    owner can reach, never on the network. Started by root it runs as ``nobody``, since PostgreSQL refuses to run as
    root.

    Args:
        folder: The study's folder; the server's files are in its sub-folder ``postgres``.
    """

    def __init__(self, folder: Path | str) -> None:
        self._server = PostgresServer(Path(folder).expanduser().resolve() / "postgres")
        self._users = self._server.folder / "users.lock"
        self._user: int | None = None
        self._watcher: _Watcher | None = None

    def exists(self) -> bool:
        """Return whether there are data."""
        return self._server.exists()

    def running(self) -> bool:
        """Return whether the server takes connections from this machine."""
        return self._server.is_ready()

    def __enter__(self) -> str:
        """Start or join the server.

        Returns:
            Its URL.

        Raises:
            StudyError: If the extra ``embedded`` is not installed, or the server does not start.
        """
        require_embedded()
        self._server.folder.mkdir(parents=True, exist_ok=True)
        with self._turn():
            self._user = _file_locks.take(self._users, shared=True, timeout=1.0)
            if self._user is None:
                raise StudyError(f"{self._users} is locked by a process that is no user of the PostgreSQL beside it")
            try:
                if not self._server.exists():
                    self._server.initialise()
                self._server.start()
            except BaseException:
                self._leave()
                raise
        self._watcher = _Watcher(self._start_again)
        return self._server.url()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server if no other process uses it."""
        if self._watcher is not None:
            self._watcher.stop()
        with self._turn():
            self._leave()

    def _start_again(self) -> None:
        """Start the server if it was killed, unless another user does.

        Raises:
            StudyError: If that fails.
        """
        if self._server.is_up():
            return
        with self._turn():
            if not self._server.is_up():
                self._server.start()
                _logger.warning("the PostgreSQL in %s went down; it has been started again", self._server.folder)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Exclude other processes from starting and stopping the server in the block."""
        turn = _file_locks.take(self._server.folder / "turn.lock", timeout=_TURN_SECONDS)
        if turn is None:
            raise StudyError(
                f"the PostgreSQL in {self._server.folder} is being started or stopped by another process for more than "
                f"{_TURN_SECONDS:g} s; end that process"
            )
        try:
            yield
        finally:
            os.close(turn)

    def _leave(self) -> None:
        """Give up the shared lock of all users; the last one can make it exclusive, and stops the server."""
        user, self._user = self._user, None
        if user is not None:
            try:
                if _file_locks.change(user, self._users, shared=False):
                    self._server.stop()
            finally:
                os.close(user)


class _Watcher(threading.Thread):
    """Calls a function twice a second, and says what it cannot do.

    Args:
        look: The function.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__(name="watch PostgreSQL", daemon=True)
        self._look, self._over = look, threading.Event()
        self.start()

    def stop(self) -> None:
        """Stop, after the call that is being made."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Call until stopped."""
        complaint = ""
        while not self._over.wait(_RETRY_SECONDS if complaint else _WATCH_SECONDS):
            try:
                self._look()
                complaint = ""
            except Exception as error:  # such as a full disk, which may have room again later; without it nobody looks
                if str(error) != complaint:
                    _logger.warning("%s; trying again every %g s", error, _RETRY_SECONDS)
                complaint = str(error)
