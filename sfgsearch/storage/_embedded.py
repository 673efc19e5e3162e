"""A PostgreSQL inside a study's folder, for parallel work on one machine without any set-up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from sfgsearch.errors import StudyError
from sfgsearch.storage import _file_locks
from sfgsearch.storage._binaries import require_embedded
from sfgsearch.storage._server import PostgresServer
from sfgsearch.storage._urls import EMBEDDED, parse_url

_logger = logging.getLogger(__name__)
_FOLDER = "postgres"
_ATTEMPTS = 3
_LONGEST_START = 180.0
_LOOK_SECONDS = 0.5
_PAUSE_SECONDS = 5.0


def is_embedded(url: str) -> bool:
    """Tell whether a database is a server that this package starts, and starts again when it was killed."""
    return parse_url(url).query.get("application_name") == EMBEDDED


class EmbeddedPostgres:
    """The PostgreSQL inside a study's folder: started by its first user, stopped by its last, data kept.

    As a context manager it starts the server, or joins a running one, and gives its URL. Users are processes that are
    inside such a block; those that were killed do not count, and what they left is used or put right by the next one.
    If the server is killed, one of its users starts it again on the same data and under the same URL, where those
    find it that wait for it; see :func:`retry_connections`. It listens on a socket that only its owner can reach,
    never on the network.

    Args:
        folder: The study's folder; the server's files are in its sub-folder ``postgres``.
    """

    def __init__(self, folder: Path | str) -> None:
        self._server = PostgresServer(Path(folder).expanduser().resolve() / _FOLDER)
        self._using: list[int] = []
        self._watch: _Watch | None = None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._server.log

    def exists(self) -> bool:
        """Tell whether there are data."""
        return self._server.exists()

    def running(self) -> bool:
        """Tell whether the server takes connections from this machine."""
        return self._server.is_ready()

    def url_if_running(self) -> str | None:
        """Return the URL where the server is running, without becoming one of its users; else None."""
        return self._server.url() if self.running() else None

    def __enter__(self) -> str:
        """Start or join the server.

        Returns:
            Its URL.

        Raises:
            StudyError: If the extra ``embedded`` is not installed, or the server does not start.
        """
        require_embedded()
        self._server.folder.mkdir(parents=True, exist_ok=True)
        turn = self._take_turn()
        try:
            user = _file_locks.take(self._users, shared=True, timeout=1.0)
            if user is None:
                raise StudyError(f"{self._users} is locked by a process that is no user of the PostgreSQL beside it")
            try:
                if not self._server.exists():
                    self._server.initialise()
                self._ensure_running()
                url = self._server.url()
            except BaseException:
                self._leave(user)
                raise
            self._using.append(user)
        finally:
            os.close(turn)
        self._watch = self._watch or _Watch(self._start_again)
        return url

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server if no other process uses it."""
        if self._watch and len(self._using) == 1:
            self._watch.stop()
            self._watch = None
        turn = self._take_turn()
        try:
            self._leave(self._using.pop())
        finally:
            os.close(turn)

    @property
    def _users(self) -> Path:
        return self._server.folder / "users.lock"

    def _take_turn(self) -> int:
        """Exclude other processes from starting and stopping the server."""
        turn = _file_locks.take(self._server.folder / "turn.lock", timeout=_LONGEST_START)
        if turn is None:
            raise StudyError(
                f"the PostgreSQL in {self._server.folder} is being started or stopped by another process for more than "
                f"{_LONGEST_START:g} s; end that process"
            )
        return turn

    def _ensure_running(self) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                if self._server.lives():
                    self._server.wait_until_ready()
                else:
                    self._server.start()
                return
            except StudyError:  # what lived may have been what a killed server left behind, gone by now
                if attempt == _ATTEMPTS - 1 or self._server.lives():
                    raise

    def _start_again(self) -> None:
        """Start the server if it was killed, unless another user does.

        Raises:
            StudyError: If that fails.
        """
        if self._server.is_up():
            return
        turn = self._take_turn()
        try:
            if not self._server.is_up():
                self._ensure_running()
                _logger.warning("the PostgreSQL in %s went down; it has been started again", self._server.folder)
        finally:
            os.close(turn)

    def _leave(self, user: int) -> None:
        """Give up the shared lock of all users; the last one can make it exclusive."""
        try:
            if _file_locks.change(user, self._users, shared=False):
                self._server.stop()
        finally:
            os.close(user)


class _Watch:
    """Calls a function twice a second, in a thread, and says what it cannot do.

    Args:
        look: The function.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look after PostgreSQL", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, after the call that is being made."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        said = ""
        while not self._over.wait(_PAUSE_SECONDS if said else _LOOK_SECONDS):
            try:
                self._look()
                said = ""
            except Exception as error:  # such as a full disk, which may have room again later; without it nobody looks
                if str(error) != said:
                    _logger.warning("%s; trying again every %g s", error, _PAUSE_SECONDS)
                said = str(error)
