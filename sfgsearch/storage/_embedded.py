"""A PostgreSQL inside a study's folder, for parallel work on one machine without any set-up."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from sfgsearch.errors import StudyError
from sfgsearch.storage import _file_locks
from sfgsearch.storage._binaries import require_embedded
from sfgsearch.storage._server import PostgresServer

_FOLDER = "postgres"
_ATTEMPTS = 3
_LONGEST_START = 180.0


class EmbeddedPostgres:
    """The PostgreSQL inside a study's folder: started by its first user, stopped by its last, data kept.

    As a context manager it starts the server, or joins a running one, and gives its URL. Users are processes that are
    inside such a block; those that were killed do not count, and what they left is used or put right by the next one.
    The server listens on a socket that only its owner can reach, never on the network.

    Args:
        folder: The study's folder; the server's files are in its sub-folder ``postgres``.
    """

    def __init__(self, folder: Path | str) -> None:
        self._server = PostgresServer(Path(folder).expanduser().resolve() / _FOLDER)
        self._using: list[int] = []

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
                self._ensure_running()
                url = self._server.url()
            except BaseException:
                self._leave(user)
                raise
            self._using.append(user)
            return url
        finally:
            os.close(turn)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server if no other process uses it."""
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
        if not self._server.exists():
            self._server.initialise()
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

    def _leave(self, user: int) -> None:
        """Give up the shared lock of all users; the last one can make it exclusive."""
        try:
            if _file_locks.change(user, self._users, shared=False):
                self._server.stop()
        finally:
            os.close(user)
