"""A real MariaDB for tests: one server per process of pytest, a fresh database per call."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text

_PROGRAMS = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


class LocalMariaDB:
    """Call it for the URL of a fresh database."""

    def __init__(self, folder):
        self._folder, self._databases, self._process = Path(folder), 0, None
        where = ["--no-defaults", f"--datadir={self._folder / 'data'}"]
        install = [program("mariadb-install-db"), *where, "--auth-root-authentication-method=normal", "--user=root"]
        subprocess.run([*install, "--skip-test-db"], check=True, capture_output=True)
        # Commits survive the death of the server, as they must, though not a power cut, which tests need not fear.
        quick = ["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--skip-log-bin"]
        self._command = [program("mariadbd"), *where, "--user=root", "--skip-networking", *quick]
        self._command += [f"--socket={self._folder / 'socket'}", f"--pid-file={self._folder / 'pid'}"]

    def __call__(self):
        self._databases += 1
        self.execute(f"CREATE DATABASE test_{self._databases}")
        return self.url(f"test_{self._databases}")

    def url(self, database=None):
        query = {"unix_socket": str(self._folder / "socket")}
        return URL.create("mysql+pymysql", username="root", database=database, query=query).render_as_string()

    def execute(self, statement):
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def start(self, patience=60):
        socket = self._folder / "socket"
        socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + patience
        while not socket.exists():  # it is made when the server listens
            assert self._process.poll() is None, "mariadbd has ended"
            assert time.monotonic() < deadline, "mariadbd does not start"
            time.sleep(0.05)

    def stop(self):
        """Stop the server as a crash would."""
        self._process.kill()
        self._process.wait()

    def restart(self):
        self.stop()
        self.start()


def program(name):
    return shutil.which(name, path=_PROGRAMS)


@pytest.fixture(scope="session")
def mariadb():
    """Give a function that makes a fresh database and returns its URL; it can restart the server too."""
    pytest.importorskip("pymysql", reason="needs PyMySQL: pip install 'sfgsearch[mysql]'")
    if not (program("mariadbd") and program("mariadb-install-db")):
        pytest.skip("needs a MariaDB: apt-get install mariadb-client-core mariadb-server-core")
    with tempfile.TemporaryDirectory(prefix="sfgtest-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        local = LocalMariaDB(folder)
        local.start()
        yield local
        local.stop()
