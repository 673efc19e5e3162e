"""Reading TOML within limits, so that no file makes what reads it hang, overflow or recurse for ever."""

from __future__ import annotations

import stat
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any

from sfgsearch.errors import ConfigError
from sfgsearch.storage import redact

_MOST_BYTES = 1_000_000
_MOST_LEVELS = 16
_MOST_ENTRIES = 10_000
_LAST_WHOLE = 2**63
_SHOWN = 120


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8, with or without a byte-order mark.

    Args:
        path: A regular file of at most 1 MB.

    Raises:
        ConfigError: If it cannot be read, is no TOML, nests deeper than 16 levels, lists more than 10,000 things in one
            place, or holds a whole number beyond 64 bits, a date or time, or a NUL character, which no key takes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError("cannot read the study file: it is a folder or a special file", file=path)
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the study file: {reason}", file=path) from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"is larger than {_MOST_BYTES:,} bytes; no study file is", file=path)
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}; save the file as UTF-8", file=path) from error
    except ValueError as error:
        raise ConfigError(f"not valid TOML: {error}", file=path) from error
    except RecursionError:
        raise ConfigError(f"nests deeper than {_MOST_LEVELS} levels", file=path) from None
    for key, value in values.items():
        _check(value, path, key)
    return values


def _check(value: Any, file: Path, key: str, level: int = 1) -> None:
    """Refuse values that no key takes, whichever it is."""
    problem = None
    if isinstance(value, dict | list):
        if level > _MOST_LEVELS:
            problem = f"nests deeper than {_MOST_LEVELS} levels"
        elif len(value) > _MOST_ENTRIES:
            problem = f"has {len(value):,} entries; at most {_MOST_ENTRIES:,} are allowed"
    elif isinstance(value, int) and not -_LAST_WHOLE <= value < _LAST_WHOLE:
        problem = "is a whole number beyond 64 bits"
    elif isinstance(value, date | time):
        problem = f"is a date or time; write it as text, in quotes, if that is meant: '{value}'"
    elif isinstance(value, str) and "\x00" in value:
        problem = "holds a NUL character"
    if problem:
        raise ConfigError(problem, file=file, key=key)
    if isinstance(value, dict):
        for name, item in value.items():
            _check(item, file, f"{key}.{name}", level + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, file, key, level + 1)


def show_value(value: Any) -> str:
    """Return a value as errors repeat it: without passwords of URLs, and cut where it is long."""
    text = redact(repr(value), "")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}.."
