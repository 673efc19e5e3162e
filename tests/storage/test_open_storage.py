import optuna
import pytest
import storage_processes
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from sfgsearch.errors import StudyError
from sfgsearch.storage import engine_options, is_outage, open_storage


def test_processes_open_an_empty_database_at_once(postgres):
    url = postgres()
    assert storage_processes.run_at_once(8, storage_processes.open_empty, url) == [0] * 8
    engine = create_engine(url)
    assert inspect(engine).has_table("trials")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM version_info")).scalar() == 1
    engine.dispose()


def test_a_study_is_kept(postgres):
    storage = open_storage(postgres())
    study = optuna.create_study(study_name="kept", storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert len(optuna.load_study(study_name="kept", storage=storage).trials) == 2
    storage.engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///{folder}/study.db"])
def test_sqlite_opens_without_leaving_more_than_its_lock(url, tmp_path):
    storage = open_storage(url.format(folder=tmp_path))
    optuna.create_study(storage=storage)
    storage.engine.dispose()
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"} <= {"study.db"}


def test_a_database_that_only_can_be_read_opens(tmp_path):
    open_storage(f"sqlite:///{tmp_path}/study.db").engine.dispose()
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    tmp_path.chmod(0o555)
    open_storage(f"sqlite:///{tmp_path}/study.db").engine.dispose()
    tmp_path.chmod(0o755)


def test_a_missing_driver_names_the_extra():
    with pytest.raises(StudyError, match=r"mysql\+mysqldb databases is missing: pip install 'sfgsearch\[mysql\]'"):
        open_storage("mysql+mysqldb://host/db")


def test_what_the_url_says_of_the_connection_holds():
    ours = engine_options("postgresql+psycopg://host/db")["connect_args"]
    theirs = engine_options("postgresql+psycopg://host/db?connect_timeout=3&application_name=me")["connect_args"]
    assert ours.keys() - theirs.keys() == {"connect_timeout", "application_name"}


def test_credentials_come_from_the_environment_or_the_password_file(postgres, tmp_path, monkeypatch):
    url = postgres()
    postgres.require_password("secretive", "hunter2")
    network = postgres.over_network(url, "secretive")
    with pytest.raises(OperationalError) as caught:
        open_storage(network)
    assert not is_outage(caught.value)
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", "hunter2")
        _can_open(network)
    passwords = tmp_path / "pgpass"
    passwords.write_text("127.0.0.1:*:*:secretive:hunter2\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    _can_open(network)
    monkeypatch.delenv("PGPASSFILE")
    _can_open(postgres.over_network(url, "secretive", "hunter2"))


def _can_open(url):
    engine = create_engine(url, **engine_options(url))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar() == "secretive"
    engine.dispose()
