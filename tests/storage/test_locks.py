import time

import pytest
import storage_processes
from sqlalchemy import create_engine, text

from sfgsearch.errors import StudyError
from sfgsearch.storage import database_lock
from sfgsearch.storage._locks import lock_key


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request, tmp_path):
    server = {"postgresql": "postgres", "mariadb": "mariadb"}.get(request.param)
    return request.getfixturevalue(server)() if server else f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def engine(url):
    engine = create_engine(url)
    yield engine
    engine.dispose()


def test_a_lock_excludes_other_processes_and_names_what_is_held(engine, url):
    held = storage_processes.event()
    with storage_processes.process(storage_processes.hold_lock, url, "study x", held):
        assert held.wait(60)
        with (
            pytest.raises(StudyError, match=r"the lock 'study x' in the database .* more than 0.3 seconds"),
            database_lock(engine, "study x", timeout=0.3),
        ):
            pass
        with database_lock(engine, "study y", timeout=5), engine.begin() as connection:
            connection.execute(text("CREATE TABLE free (x INTEGER)"))


def test_a_killed_holder_holds_nothing(engine, url):
    held = storage_processes.event()
    with storage_processes.process(storage_processes.hold_lock, url, "study", held) as holder:
        assert held.wait(60)
        storage_processes.kill(holder)
        start = time.monotonic()
        with database_lock(engine, "study", timeout=30):
            assert time.monotonic() - start < 10


def test_several_processes_count_without_losing_one(engine, url):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counter (value INTEGER)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))
    assert storage_processes.run_at_once(4, storage_processes.count_up, url, 15) == [0] * 4
    with engine.connect() as connection:
        assert connection.execute(text("SELECT value FROM counter")).scalar() == 60


def test_an_error_in_the_block_releases_the_lock_and_stays_what_it_was(engine):
    with pytest.raises(ZeroDivisionError), database_lock(engine, "study"):
        _ = 1 / 0
    with database_lock(engine, "study", timeout=1):
        pass


def test_sqlite_in_memory_needs_no_lock():
    engine = create_engine("sqlite://")
    with database_lock(engine, "study"), database_lock(engine, "study"):
        pass
    engine.dispose()


def test_a_restart_of_the_database_ends_a_lock_with_a_warning(postgres, caplog):
    engine = create_engine(postgres(), pool_pre_ping=True)
    with database_lock(engine, "study"):
        postgres.restart()
    assert "the lock 'study' was lost" in caplog.text
    with database_lock(engine, "study", timeout=5):
        pass
    engine.dispose()


def test_keys_are_the_same_everywhere():
    assert lock_key("schema") == 1_058_452_857_786_490_605
    assert all(0 <= lock_key(str(number)) < 2**63 for number in range(100))
