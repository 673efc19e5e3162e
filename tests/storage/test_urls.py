import pytest

from sfgsearch.errors import StudyError
from sfgsearch.storage import display_url, redact, sqlite_file, with_driver


@pytest.mark.parametrize(
    ("bare", "full"),
    [
        ("postgresql://me:a%40b@host/db?x=1", "postgresql+psycopg://me:a%40b@host/db?x=1"),
        ("postgres://host/db", "postgresql+psycopg://host/db"),
        ("mysql://me@host/db", "mysql+pymysql://me@host/db"),
        ("mariadb://me@host/db", "mysql+pymysql://me@host/db"),
        ("postgresql+psycopg2://host/db", "postgresql+psycopg2://host/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
    ],
)
def test_a_url_without_a_driver_gets_the_installed_one(bare, full):
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")
    assert with_driver(bare) == full


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setattr("sfgsearch.storage._urls.find_spec", lambda _name: None)
    with pytest.raises(StudyError, match=r"pip install 'sfgsearch\[postgresql\]'"):
        with_driver("postgres://host/db")


def test_only_files_of_sqlite_are_files():
    assert str(sqlite_file("sqlite:///a/study.db")) == "a/study.db"
    assert sqlite_file("sqlite://") is None
    assert sqlite_file("sqlite:///file:study?mode=memory&uri=true") is None
    assert sqlite_file("postgresql+psycopg://host/study.db") is None


def test_what_is_no_url_is_not_repeated():
    with pytest.raises(StudyError, match="not a database URL") as caught:
        sqlite_file("me:hunter2@host")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:hunter2@host/db", 'FATAL: password "hunter2" is wrong for me@host'),
        ("postgresql://me:hunt%40er%2F2@host/db", "cannot reach me:hunt%40er%2f2@host with hunt@er/2"),
        ("postgresql://me:hunt%20er2@host/db", "it is hunt er2, hunt%20er2 or hunt+er2"),
        ("postgresql://me@host/db?password=hunter2&sslpassword=hunter3", "hunter2 hunter3"),
        ("postgresql://me:hunt%27er%5C2@host/db", repr({"password": "hunt'er\\2"})),
        ("not a url", "cannot open postgresql://me:hunter2@host/db"),
    ],
)
def test_secrets_are_removed_in_every_form(url, text):
    redacted = redact(text, url)
    assert "hunt" not in redacted
    assert "***" in redacted


def test_the_password_in_the_environment_is_removed(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert redact("it was hunter2", "postgresql://me@host/db") == "it was ***"


def test_nothing_else_is_removed():
    url = "postgresql://me:hunter2@host/db?sslmode=require"
    assert redact("sslmode require at host/db of me", url) == "sslmode require at host/db of me"
    assert display_url(url) == "postgresql://me:***@host/db"
