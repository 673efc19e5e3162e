import pytest
from sqlalchemy import create_engine, text

from sfgsearch.storage import _ping, engine_options
from sfgsearch.storage._ping import ping_rarely


@pytest.fixture
def asked(postgres):
    """Give an engine that pings rarely, and the connections about which it asked the server."""
    url = postgres()
    engine = create_engine(url, **engine_options(url))
    asks, original = [], engine.dialect.do_ping
    engine.dialect.do_ping = lambda connection: (asks.append(connection), original(connection))[1]
    ping_rarely(engine)
    yield engine, asks
    engine.dispose()


def use(engine):
    with engine.connect() as connection:
        return connection.execute(text("SELECT pg_backend_pid()")).scalar()


def test_a_connection_in_use_is_asked_about_once(asked):
    engine, asks = asked
    assert len({use(engine) for _ in range(20)}) == 1
    assert len(asks) == 1


def test_an_idle_connection_is_asked_about_again(asked, monkeypatch):
    engine, asks = asked
    monkeypatch.setattr(_ping, "_IDLE", 0.0)
    for _ in range(5):
        use(engine)
    assert len(asks) == 4, "all but the new connection"


@pytest.mark.parametrize("how", ["restart", "terminate"])
def test_a_connection_that_the_server_ended_is_replaced(asked, postgres, how):
    engine, asks = asked
    before = [use(engine) for _ in range(3)][-1]
    asks.clear()
    if how == "restart":
        postgres.restart()
    else:
        postgres.execute(f"SELECT pg_terminate_backend({before}, 30000)")
    assert use(engine) != before
    assert len(asks) == 1
