"""What other processes do in tests of storage; here, where they can import it."""

import multiprocessing
import os
import signal
import time
from contextlib import contextmanager

from sqlalchemy import create_engine, text

from sfgsearch import create_study, load_config
from sfgsearch.search import _transfer
from sfgsearch.storage import EmbeddedPostgres, database_lock, open_storage

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["sfgsearch", "sklearn.datasets", "optuna.storages", "sqlalchemy.dialects.postgresql", "psycopg"]
)


def event():
    return _CONTEXT.Event()


def barrier(parties):
    return _CONTEXT.Barrier(parties)


@contextmanager
def process(target, *arguments):
    """Run a function in a process that imports the package once for all; it is killed at the end."""
    started = _CONTEXT.Process(target=target, args=arguments)
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join()
        started.close()


def run_at_once(count, target, *arguments, timeout=120):
    """Run a function in many processes that begin at the same instant, and return their exit statuses."""
    together = barrier(count)
    started = [_CONTEXT.Process(target=_meet, args=(together, target, number, *arguments)) for number in range(count)]
    try:
        for one in started:
            one.start()
        for one in started:
            one.join(timeout)
        return [one.exitcode for one in started]
    finally:
        for one in started:
            one.kill()
            one.join()
            one.close()


def _meet(together, target, number, *arguments):
    together.wait()
    target(number, *arguments)


def hold_lock(url, name, held):
    engine = create_engine(url)
    with database_lock(engine, name):
        held.set()
        time.sleep(600)


def count_up(_number, url, times):
    """Add to a number in two statements, which goes wrong without the lock."""
    engine = create_engine(url)
    for _ in range(times):
        with database_lock(engine, "counter"), engine.connect() as connection:
            value = connection.execute(text("SELECT value FROM counter")).scalar()
            connection.commit()
            connection.execute(text("UPDATE counter SET value = :value"), {"value": value + 1})
            connection.commit()
    engine.dispose()


def open_empty(_number, url):
    open_storage(url).engine.dispose()


def use_embedded(folder, inside, leave):
    with EmbeddedPostgres(folder):
        inside.set()
        leave.wait(600)


def use_embedded_shortly(_number, folder):
    with EmbeddedPostgres(folder) as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()


def kill(one):
    os.kill(one.pid, signal.SIGKILL)
    one.join()


def create_study_of(_number, file, url):
    create_study(load_config(file), url)


def copy_and_die(source, target, name):
    """Copy a study in a process that dies between its trials and its records."""
    _transfer._copy_rows = lambda *_: os._exit(9)
    _transfer.copy_study(source, target, name)
