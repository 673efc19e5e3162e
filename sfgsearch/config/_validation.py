"""Checking what a study file says, and turning what is wrong into the one line that a user reads."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from sfgsearch.config._toml import show_value
from sfgsearch.errors import ConfigError


def check_options(
    part: Callable[..., Any], options: Mapping[str, Any], file: Path, key: str, besides: Iterable[str] = ()
) -> dict[str, Any]:
    """Check options against the keyword-only parameters of a function.

    Args:
        part: A registered data set, backbone or method, a function or a class.
        options: What the study file says.
        file: The study file.
        key: The section that the options stand in.
        besides: Keys that the section has besides options, for the error's message.

    Returns:
        All options, defaults included, converted to the annotated types.

    Raises:
        ConfigError: If an option is unknown, missing or of a wrong type.
    """
    hints = get_type_hints(cast("Any", part).__init__ if inspect.isclass(part) else part)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(part).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
    model = create_model("Options", __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)
    try:
        checked = model.model_validate_json(json.dumps(dict(options), default=str))  # a list is a tuple there
    except ValidationError as error:
        raise first_error(error, model, options, file, key, besides) from None
    return {name: getattr(checked, name) for name in fields}


def path_option(load: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the option ``path`` of a data set, the user's own copy of the data; None if it has no such option."""
    path = inspect.signature(load).parameters.get("path")
    return path if path is not None and path.kind is inspect.Parameter.KEYWORD_ONLY else None


def first_error(
    error: ValidationError,
    model: type[BaseModel],
    raw: Mapping[str, Any],
    file: Path,
    prefix: str = "",
    besides: Iterable[str] = (),
) -> ConfigError:
    """Turn a validation error into the one line that a user reads.

    Args:
        error: What pydantic found.
        model: The model that was validated.
        raw: What was validated.
        file: The study file.
        prefix: Path of the section that the model describes.
        besides: Keys that the section has besides those of the model.
    """
    details = error.errors(include_url=False)
    worst = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    location = _location(worst, raw)
    same = [detail for detail in details if _location(detail, raw) == location]
    if worst["type"] == "extra_forbidden":
        allowed = dict.fromkeys((*_allowed_keys(model, worst["loc"][:-1]), *besides))
        message = _unknown(str(worst["loc"][-1]), list(allowed))
    elif worst["type"] == "missing":
        message = "is required"
    else:  # the branches of a union fail side by side
        reasons = " or ".join(detail["msg"].removeprefix("Value error, ") for detail in same)
        is_secret = "storage" in location  # it may hold a password
        message = reasons if is_secret else f"{reasons}, got {show_value(worst['input'])}"
    more = f" (and {len(details) - len(same)} more)" if len(details) > len(same) else ""
    return ConfigError(message + more, file=file, key=".".join(map(str, [*filter(None, [prefix]), *location])))


def _location(detail: ErrorDetails, raw: Any) -> list[int | str]:
    """Return the part of an error's location that is in the file, and a missing key that follows it.

    After it come the names by which pydantic marks the branches of a union.
    """
    found: list[int | str] = []
    for part in detail["loc"]:
        if isinstance(raw, Mapping):
            if part in raw or detail["type"] == "missing":
                found.append(part)
            if part not in raw:
                break
            raw = raw[part]
        elif isinstance(raw, list) and isinstance(part, int):
            found.append(part)
            if part >= len(raw):  # a list of fixed length that is too short
                break
            raw = raw[part]
        else:
            break
    return found


def _unknown(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    return f"unknown key{f', did you mean {close[0]!r}?' if close else ';'} allowed: {', '.join(allowed)}"


def _allowed_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section at a location."""
    section: Any = model
    for part in location:
        if _is_section(section):
            section = section.model_fields[part].annotation
        elif get_origin(section) is dict:  # a table whose keys are names
            section = get_args(section)[1]
        if get_origin(section) is not dict:  # an optional section is a union
            section = next(filter(_is_section, get_args(section)), section)
    return list(section.model_fields) if _is_section(section) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
