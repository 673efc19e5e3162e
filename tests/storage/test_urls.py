from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from sfgsearch.cli import main
from sfgsearch.errors import StudyError
from sfgsearch.storage import (
    display_url,
    is_on_this_machine,
    is_sqlite,
    open_storage,
    redact,
    sqlite_file,
    with_driver,
)


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
        ("not a url", "cannot open postgresql://me:hunt/er@hunter2@host/db"),
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


AMBIGUOUS = [
    "postgresql://u:hunter2@more2@host/db",
    "postgresql://u:hunt/er2@host/db",
    "postgresql://u:hunt?er2@host/db",
    "postgresql://u:hunt#er2@host/db",
    "postgresql://u:5432/hunter2@host/db",
    "postgresql://u:hunt%er2@host/db",
    "postgresql://u:hunt[er2@host/db",
    "postgresql://u:hunter2@host:54x/db",
    "postgresql://u:hunter2@host:99999/db",
    "postgresql://u:hunter2@host:\u0665\u0664\u0663\u0662/db",
    "postgresql://u:hunter2@ho st/db",
    "postgresql://u:hunter2@host/db@more",
    "postgresql://u:hunter2/db",
    "postgresql://u@host/db?password=hunter2@more",
    "postgresql://u@host/db?password=hunter2&more",
    "postgresql://u@host/db?password=hunt%er2",
    "mysql://u:hunter2@more2@host/db",
    "postgresql+psycopg://u:hunter2@more2@host/db",
    "sqlite://u:hunter2@host/db",
    "postgresql://u:hunter2\n@host/db",
    "u:hunter2@more@host",
    "//u:hunter2@host",
]


@pytest.mark.parametrize("url", AMBIGUOUS)
@pytest.mark.parametrize("read", [display_url, with_driver, sqlite_file, is_sqlite, is_on_this_machine, open_storage])
def test_a_url_that_can_be_read_in_two_ways_is_refused_and_nothing_of_it_is_repeated(read, url):
    with pytest.raises(StudyError) as caught:
        read(url)
    message = str(caught.value)
    assert not {part for part in ("hunt", "er2", "more", "host/db", "54x", "99999", "u:") if part in message}
    assert caught.value.__cause__ is None
    assert "\n" not in message


@pytest.mark.parametrize("character", list("@/:#?%[] &=+é\"'\\"))
def test_a_password_that_is_encoded_may_hold_anything(character):
    password = f"hunt{character}er2"
    url = f"postgresql+psycopg://u:{quote(password, safe='')}@host:5432/db"
    assert display_url(url) == "postgresql+psycopg://u:***@host:5432/db"
    assert make_url(with_driver(url)).password == password
    rendered = make_url(url).render_as_string(hide_password=False)
    assert make_url(with_driver(rendered)).password == password


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p:w@[::1]:5432/db",
        "postgresql://host",
        "postgresql:///db?host=%2Ftmp%2Fsocket",
        "postgresql://u@/db?host=%2Ftmp&application_name=x",
        "mysql://u:p@db.example.org/a?charset=utf8mb4",
        "sqlite:///a@b#c/study.db",
        "sqlite:////tmp/100%/study.db",
        "sqlite://",
    ],
)
def test_what_can_be_read_in_one_way_is_read(url):
    assert display_url(url)


@pytest.mark.parametrize("way", ["file", "option", "environment"])
@pytest.mark.parametrize("command", ["run", "status", "compare", "worker", "dashboard", "launch", "show", "export"])
def test_no_command_connects_or_prints_any_of_it(study_file, capsys, monkeypatch, tmp_path, command, way):
    url = "postgresql://u:hunter2@more2@127.0.0.1:1/db"
    options = {"launch": ["--workers", "1"], "show": ["--trial", "0"]}.get(command, [])
    options += ["--trial", "0", "--output", str(tmp_path / "x.onnx")] if command == "export" else []
    path = study_file(study={"storage": url} if way == "file" else {})
    if way == "environment":
        monkeypatch.setenv("SFGSEARCH_STORAGE", url)
    monkeypatch.setattr("psycopg.connect", lambda *_args, **_keys: pytest.fail("it connects"))
    with pytest.raises(SystemExit) as stop:
        main([command, str(path), *options, *(["--storage", url] if way == "option" else [])])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert len(printed.err.splitlines()) == 1
    assert not {part for part in ("hunter2", "more2", "127.0.0.1") if part in printed.err + printed.out}
    assert "%40" in printed.err
    assert "PGPASSWORD" in printed.err
