"""One PostgreSQL server on one folder of data."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from sfgsearch.errors import StudyError
from sfgsearch.storage import _file_locks
from sfgsearch.storage._binaries import Account, environment, let_pass, programs, run
from sfgsearch.storage._urls import EMBEDDED

_logger = logging.getLogger(__name__)
USER = "postgres"
_SOCKETS = "sfgsearch-"
_LONGEST_SOCKET_FOLDER = 80  # a socket's path may have 103 bytes on macOS, 107 on Linux
_ORPHANS_SECONDS = 5.0
"""What a killed server leaves behind ends by itself sooner, unless it hangs."""

_SETTINGS = {
    "listen_addresses": "",  # a socket in a folder of its own, never the network
    "port": "5432",
    "max_connections": "300",
    "max_parallel_workers_per_gather": "0",  # needs /dev/shm, of which containers have little
    "logging_collector": "off",
    "log_destination": "stderr",
}


@dataclass(frozen=True)
class _Postmaster:
    """What a server says of itself in ``postmaster.pid``."""

    pid: int
    port: int
    sockets: Path
    status: str

    @property
    def socket(self) -> Path:
        return self.sockets / f".s.PGSQL.{self.port}"


class PostgresServer:
    """A server process and its data.

    The server inherits a locked file, ``server.lock``, so that the kernel tells whether it lives, even where its
    process id was given to another process since, or means nothing because it runs in another container.

    Args:
        folder: Where its data, log and locks are.
        settings: Changes to the server's settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data, self.log = folder / "data", folder / "server.log"
        self._lock = folder / "server.lock"
        self.settings = {**_SETTINGS, **(settings or {})}

    def exists(self) -> bool:
        """Tell whether there are data."""
        return (self.data / "PG_VERSION").exists()

    def lives(self) -> bool:
        """Tell whether the server, or anything that it left behind, still works on the data."""
        return _file_locks.is_taken(self._lock)

    def is_up(self) -> bool:
        """Tell whether the server works on the data, and not only what a killed one left behind."""
        postmaster = self._postmaster() if self.lives() else None
        return postmaster is not None and self._works(postmaster)

    def is_ready(self) -> bool:
        """Tell whether the server takes connections from this machine."""
        postmaster = self._postmaster() if self.lives() else None
        return postmaster is not None and self._takes_connections(postmaster)

    def url(self, database: str = USER) -> str:
        """Return the URL of a database of the running server."""
        postmaster = self._postmaster()
        if postmaster is None:
            raise StudyError(f"the PostgreSQL in {self.folder} is not running")
        query = {"host": str(postmaster.sockets), "port": str(postmaster.port), "application_name": EMBEDDED}
        url = URL.create("postgresql+psycopg", username=USER, database=database, query=query)
        return url.render_as_string(hide_password=False)

    def initialise(self) -> None:
        """Create empty data; one that is interrupted leaves none.

        Raises:
            StudyError: If that fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account = Account.for_data(self.data)
        account.give(unfinished)
        if account.is_other:
            let_pass(programs() / "initdb")
        # A relative path, for initdb hands it to a shell.
        options = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        run([programs() / "initdb", *options, "-D", unfinished.name], account, cwd=self.folder)
        unfinished.rename(self.data)

    def start(self, timeout: float = 120.0) -> None:
        """Start the server on its data and wait until it takes connections, after a crash for its recovery.

        The server belongs to no terminal, so that a Ctrl-C does not reach it, and survives this process.

        Raises:
            StudyError: If it lives already, or does not come up; the message holds the last line of its log.
        """
        lock = _file_locks.take(self._lock, timeout=1.0)
        if lock is None:
            raise StudyError(f"the PostgreSQL in {self.folder} is running already")
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, socket.gethostname().encode(), 0)
            earlier = self._postmaster()
            self._forget_postmaster()
            sockets = self._launch(lock, earlier.sockets if earlier else None)
        finally:
            os.close(lock)  # the server has inherited it
        try:
            self.wait_until_ready(timeout)
        except StudyError:
            if not self.lives():
                _remove_sockets(sockets)
            raise

    def wait_until_ready(self, timeout: float = 120.0) -> None:
        """Wait until a server that somebody started takes connections.

        Processes that a killed server left behind, and that do not end by themselves, are killed.

        Raises:
            StudyError: If it dies, takes longer, or runs where this machine or container cannot reach it.
        """
        begin = time.monotonic()
        while (waited := time.monotonic() - begin) < timeout:
            if not self.lives():
                raise StudyError(f"the PostgreSQL in {self.folder} does not start: {self._last_words()}")
            host = self._lock.read_text()
            if host and host != socket.gethostname():
                raise StudyError(
                    f"the PostgreSQL in {self.folder} runs on {host}, reachable from there alone; for workers on "
                    "several machines pass a database URL"
                )
            postmaster = self._postmaster()
            if postmaster and self._takes_connections(postmaster):
                return
            if postmaster and waited > _ORPHANS_SECONDS and not self._works(postmaster):
                self._kill_orphans()
            time.sleep(0.02)
        raise StudyError(f"the PostgreSQL in {self.folder} is not ready after {timeout:g} s: {self._last_words()}")

    def stop(self, timeout: float = 60.0, *, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, ending its connections; the data stay.

        Args:
            timeout: Seconds after which it is told to stop without tidying up, which its next start makes good.
            how: SIGINT rolls back and tidies up, SIGQUIT stops at once.
        """
        postmaster = self._postmaster()
        if postmaster is None:
            return
        if not self.lives():
            _remove_sockets(postmaster.sockets)
            return
        for sent, patience in ((how, timeout), (signal.SIGQUIT, 10.0)):
            if self._works(postmaster):
                with suppress(ProcessLookupError):
                    os.kill(postmaster.pid, sent)
            else:
                self._kill_orphans()
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if not self.lives():
                    _remove_sockets(postmaster.sockets)
                    return
                time.sleep(0.02)
        _logger.warning("the PostgreSQL in %s does not stop", self.folder)

    def _works(self, postmaster: _Postmaster) -> bool:
        return _works_in(postmaster.pid, self.data, if_unknown=True)

    def _takes_connections(self, postmaster: _Postmaster) -> bool:
        return postmaster.status == "ready" and postmaster.socket.exists() and self._works(postmaster)

    def _kill_orphans(self) -> None:
        """Kill the processes that a killed server left behind; its next start makes good what they were at."""
        for entry in Path("/proc").glob("[0-9]*"):
            if _works_in(int(entry.name), self.data):
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _launch(self, lock: int, earlier: Path | None) -> Path:
        account = Account.for_data(self.data)
        if account.is_other:
            let_pass(self.data)
        version = (self.data / "PG_VERSION").read_text().strip()
        sockets = _socket_folder(self.data, account, earlier)
        settings = self.settings | {"unix_socket_directories": str(sockets)}
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        # The shell leaves the server in the background: no child of this process, which might end before it.
        command = ["/bin/sh", "-c", '"$@" &', "sh", str(programs(version) / "postgres"), "-D", str(self.data)]
        with open(self.log, "ab") as log:
            subprocess.run(
                command + arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=self.data,
                pass_fds=(lock,),
                start_new_session=True,
                check=True,
                **account.process_options(),
            )
        return sockets

    def _postmaster(self) -> _Postmaster | None:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return _Postmaster(int(lines[0]), int(lines[3]), Path(lines[4]), lines[7].strip())
        except (FileNotFoundError, IndexError, ValueError):  # none, or it is being written
            return None
        except PermissionError as error:
            raise StudyError(f"the PostgreSQL in {self.folder} belongs to another user") from error

    def _forget_postmaster(self) -> None:
        """Remove what a killed server left; its process id may be another process's by now."""
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().split(maxsplit=1)[0])
        except (FileNotFoundError, IndexError, ValueError):
            file.unlink(missing_ok=True)
            return
        if _works_in(pid, self.data):
            raise StudyError(f"the data in {self.data} are in use by PostgreSQL, process {pid}; stop it")
        file.unlink(missing_ok=True)

    def _last_words(self) -> str:
        if not self.log.exists():
            return "it wrote no log"
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), (lines or ["no log"])[-1])


def _works_in(pid: int, folder: Path, *, if_unknown: bool = False) -> bool:
    """Tell whether a process works in this folder, as that of a server does in its data.

    Args:
        pid: The process; one that waits for a parent that never asks how it ended does not work any more.
        folder: The folder.
        if_unknown: The answer for a process that may not be asked.
    """
    try:
        os.kill(pid, 0)
        if not Path("/proc/self").exists():
            return True
        return Path(os.readlink(f"/proc/{pid}/cwd")) == folder.resolve()
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:  # another user's process cannot read the data
        return if_unknown


def _socket_folder(data: Path, account: Account, earlier: Path | None) -> Path:
    """Create the folder of a server's socket, which only its account can enter.

    It is in the temporary folder, for a socket's path must be short, and the same at every start, so that those who
    wait for a server that was killed find the next one.

    Args:
        data: The server's data.
        account: The server's account.
        earlier: The folder of a server on the same data that was killed.
    """
    digest = hashlib.sha256(f"{account.uid} {data.resolve()}".encode()).hexdigest()[:12]
    places = [Path("/tmp"), Path(tempfile.gettempdir())]
    place = next((place for place in places if os.access(place, os.W_OK)), places[-1])
    name = f"{_SOCKETS}{digest}"
    folder = earlier if earlier and earlier.name.startswith(name) and earlier.parent.exists() else place / name
    try:
        folder.mkdir(mode=0o700)
        account.give(folder)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid or status.st_mode & 0o077:
            folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))  # somebody else took the name
            account.give(folder)
    for left in folder.glob(".s.PGSQL.*"):  # its process id may be another process's by now
        left.unlink()
    if len(os.fsencode(folder)) > _LONGEST_SOCKET_FOLDER:
        raise StudyError(
            f"the path of the temporary folder {place} is too long for a socket; set TMPDIR to a shorter one"
        )
    return folder


def _remove_sockets(folder: Path) -> None:
    if folder.name.startswith(_SOCKETS):
        shutil.rmtree(folder, ignore_errors=True)
