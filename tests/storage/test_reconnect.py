import threading
import time

import optuna
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from sfgsearch.storage import engine_options, is_outage, open_storage, retry_connections

pytestmark = pytest.mark.slow


@pytest.fixture
def engine(postgres):
    url = postgres()
    engine = create_engine(url, **engine_options(url))
    yield engine
    engine.dispose()


@pytest.fixture
def storage(postgres):
    storage = open_storage(postgres(), reconnect_seconds=60)
    yield storage
    storage.engine.dispose()


def _away(postgres, seconds):
    """Stop the server and start it again after some seconds, in the background."""
    postgres.stop()
    timer = threading.Timer(seconds, postgres.start)
    timer.start()
    return timer


def test_a_call_waits_through_a_restart_and_says_so_once(postgres, storage, caplog):
    study = optuna.create_study(storage=storage)
    timer = _away(postgres, 1.5)
    start = time.monotonic()
    study.set_user_attr("x", 1)
    assert 1 < time.monotonic() - start < 30
    timer.join()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("sfgsearch.storage._reconnect")]
    assert ["is away; waiting up to 60 s" in lines[0], "is back after" in lines[1]] == [True, True]
    assert len(lines) == 2


def test_all_threads_wait(postgres, storage):
    study = optuna.create_study(storage=storage)
    timer = _away(postgres, 1)
    threads = [threading.Thread(target=study.set_user_attr, args=(str(number), number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in (*threads, timer):
        thread.join()
    assert len(study.user_attrs) == 4


def test_waiting_ends_where_the_caller_says_so(postgres, engine):
    waited = []

    def leave(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            raise InterruptedError

    retry_connections(engine, 60, leave)
    postgres.stop()
    with pytest.raises(InterruptedError):
        engine.connect()
    postgres.start()
    assert waited == sorted(waited)


def test_patience_runs_out(postgres, engine):
    retry_connections(engine, 60)
    retry_connections(engine, 0.5)
    postgres.stop()
    start = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    assert 0.5 <= time.monotonic() - start < 5
    assert is_outage(caught.value)
    postgres.start()


@pytest.mark.parametrize("change", [{"database": "nowhere"}, {"username": "nobody"}, {"database": "starting up"}])
def test_what_waiting_does_not_heal_is_an_error_at_once(engine, change):
    wrong = create_engine(engine.url.set(**change))
    retry_connections(wrong, 60)
    start = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        wrong.connect()
    assert time.monotonic() - start < 5
    assert not is_outage(caught.value)


def test_a_wrong_password_is_an_error_at_once(postgres):
    url = postgres()
    postgres.require_password("secretive", "hunter2")
    engine = create_engine(postgres.over_network(url, "secretive", "wrong"))
    retry_connections(engine, 60)
    start = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    assert time.monotonic() - start < 5
    assert not is_outage(caught.value)


def test_a_statement_that_the_restart_interrupts_is_an_outage(postgres, engine):
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        postgres.restart()
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT 1"))
    assert is_outage(caught.value)
    assert is_outage(caught.value.orig)


def test_outages_are_seen_through_the_errors_of_optuna(postgres, storage):
    study = optuna.create_study(storage=storage)
    event.listen(storage.engine, "checkout", lambda *_: postgres.restart(), once=True)
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        study.set_user_attr("x", 1)
    assert is_outage(caught.value)


def test_too_many_clients_is_an_outage(postgres, engine):
    postgres.execute(f"ALTER DATABASE {engine.url.database} CONNECTION LIMIT 1")
    postgres.execute("DROP ROLE IF EXISTS plain")
    postgres.execute("CREATE ROLE plain LOGIN")
    others = create_engine(engine.url.set(username="plain"))
    with others.connect(), pytest.raises(OperationalError) as caught:
        others.connect()
    others.dispose()
    assert is_outage(caught.value)


def test_errors_of_statements_are_no_outages(engine):
    with engine.connect() as connection, pytest.raises(ProgrammingError) as caught:
        connection.execute(text("SELECT nonsense"))
    assert not is_outage(caught.value)
    assert not is_outage(ValueError("server closed the connection unexpectedly"))


def test_a_locked_sqlite_is_no_outage(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/study.db", connect_args={"timeout": 0})
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("BEGIN EXCLUSIVE"))
        with pytest.raises(OperationalError) as caught:
            second.execute(text("BEGIN EXCLUSIVE"))
    assert not is_outage(caught.value)
    engine.dispose()
