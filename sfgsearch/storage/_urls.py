"""Database URLs: which driver reaches them, which file they name, and how they are shown."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from sfgsearch.errors import StudyError

EMBEDDED = "sfgsearch-embedded"
"""``application_name`` in the URLs of servers that the package starts: nothing stands between them and a client."""

_MASK = "***"
_SECRET_KEY = re.compile(r"pass(?!file)|pwd|secret|token|key(?!_file)|credential|odbc_connect", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)([^/@\s:]*):\S*@")
_SCHEME = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_+]*)://")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Za-z:.%]+\]|[^\[\]:%\s]*)(:(?P<port>[0-9]{0,5}))?")
_LAST_PORT = 65535
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_URL = "not a database URL; write something like sqlite:///study.db or postgresql+psycopg://user@host/database"
_NO_SQLITE = (
    "a SQLite URL has three slashes before a relative path (sqlite:///study.db), four before an absolute one, and "
    "neither host nor password"
)
_REMEDY = (
    "percent-encode user and password (@ is %40, / %2F, : %3A, # %23, ? %3F, % %25, [ %5B, a space %20), or leave the "
    "password out and give it in PGPASSWORD or ~/.pgpass"
)
_BACKENDS = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""SQLAlchemy's name, and that of our extra, by scheme; Optuna writes SQL of MySQL's for the name ``mysql`` alone."""

_DRIVERS = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "MySQLdb")}
"""Modules by preference."""


def parse_url(url: str) -> URL:
    """Parse a database URL that can be read in one way only.

    A password that is not percent-encoded would be taken apart: a part of it for the host, which drivers repeat in
    their messages, for the port or for the name of the database.

    Raises:
        StudyError: If it is no database URL, or holds something that must be percent-encoded; the message repeats
            nothing of it beyond its scheme, for anything may be a part of a password.
    """
    scheme = _SCHEME.match(url)
    if scheme is None or _CONTROL.search(url):
        raise StudyError(_NO_URL)
    rest = url[scheme.end() :]
    if scheme["name"].partition("+")[0] == "sqlite":
        if rest and not rest.startswith(("/", "?")):
            raise StudyError(_NO_SQLITE)
    elif problem := _ambiguity(rest):
        raise StudyError(f"the URL ({scheme['name']}://...) {problem}; {_REMEDY}")
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise StudyError(_NO_URL) from None


def _ambiguity(rest: str) -> str | None:
    """Return why what follows the scheme of a URL can be read in several ways; None if it cannot."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user_info, at, place = authority.rpartition("@")
    if rest.count("@") > 1:
        return 'holds several "@"'
    if "@" in rest and not at:
        return 'has "/", "?" or "#" before its "@"'
    if re.search(r"[\[\]]", user_info):
        return "has a bracket in its user or password"
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        return 'has a "%" that begins no escape such as %40'
    found = _HOST_AND_PORT.fullmatch(place)
    if found is None or not 0 <= int(found["port"] or 0) <= _LAST_PORT:
        return "has a host that is none, or a port that is no number up to 65535"
    if any("=" not in part for part in rest.partition("?")[2].split("&") if part):
        return "has something in its query that is no key=value"
    return None


def display_url(url: str) -> str:
    """Return a database URL without its password and without the query, which may hold one too.

    Raises:
        StudyError: As :func:`parse_url`.
    """
    return parse_url(url).set(query={}).render_as_string(hide_password=True)


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL, None for other databases.

    Raises:
        StudyError: If it is no database URL.
    """
    parsed = parse_url(url)
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if in_file and "uri" not in parsed.query else None


def is_sqlite(url: str) -> bool:
    """Return whether a URL names SQLite, in a file or in memory."""
    return parse_url(url).get_backend_name() == "sqlite"


def is_on_this_machine(url: str) -> bool:
    """Return whether only processes of this machine reach a database by its URL: a file, a socket, or loopback."""
    parsed = parse_url(url)
    hosts = [parsed.host or "", *(str(host) for key, host in parsed.query.items() if key in ("host", "unix_socket"))]
    named = [host for host in hosts if host]
    return all(host.startswith(("/", "127.")) or host in ("localhost", "::1") for host in named)


def with_driver(url: str) -> str:
    """Return a database URL with the driver that is installed, where it names none itself.

    ``postgresql://`` and ``postgres://`` get psycopg, ``mysql://`` and ``mariadb://`` PyMySQL; without these psycopg2
    and mysqlclient.

    Raises:
        StudyError: As :func:`parse_url`, or if no driver is installed; the message names the extra to install.
    """
    parse_url(url)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _BACKENDS:
        return url
    backend = _BACKENDS[scheme]
    module = next((module for module in _DRIVERS[backend] if find_spec(module) is not None), None)
    if module is None:
        raise StudyError(f"no driver for {scheme} databases is installed: pip install 'sfgsearch[{backend}]'")
    return f"{backend}+{module.lower()}://{rest}"


def redact(text: str, url: str) -> str:
    """Remove from a text whatever is secret in a database URL, as it is and as a URL encodes it.

    Args:
        text: An error message, a reason for a failure, a line of a log.
        url: The URL: its password and the secrets in its query go. So does the password in the environment
            (``PGPASSWORD``) and that of any other URL in the text.

    Returns:
        The text with ``***`` in their place.
    """
    forms = {form for secret in _secrets(url) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = re.sub(re.escape(form), _MASK, text, flags=re.IGNORECASE if "%" in form else 0)
    return _USER_INFO.sub(rf"\1:{_MASK}@", text)


def _secrets(url: str) -> set[str]:
    found = {os.environ.get("PGPASSWORD", "")}
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return found - {""}
    found.add(str(parsed.password or ""))
    for key, value in parsed.query.items():
        if _SECRET_KEY.search(key):
            found.update([value] if isinstance(value, str) else value)
    return found - {""}


def _forms(secret: str) -> set[str]:
    """Return a secret as drivers, URLs and representations of strings write it."""
    some = quote(secret, safe=" +")  # as SQLAlchemy renders a password
    return {secret, repr(secret)[1:-1], some, quote(secret), quote(secret, safe=""), quote_plus(secret)}
