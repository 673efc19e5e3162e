"""Checking the options of registered parts against their signatures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from sfgsearch.config._errors import first_error


def check_options(part: Callable[..., Any], options: Mapping[str, Any], file: Path, key: str) -> dict[str, Any]:
    """Check options against the keyword-only parameters of a function.

    Args:
        part: A registered data set, backbone or method, a function or a class.
        options: What the study file says.
        file: The study file.
        key: The section that the options stand in.

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
        raise first_error(error, model, options, file, key) from None
    return {name: getattr(checked, name) for name in fields}


def path_option(load: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the option ``path`` of a data set, the user's own copy of the data; None if it has no such option."""
    path = inspect.signature(load).parameters.get("path")
    return path if path is not None and path.kind is inspect.Parameter.KEYWORD_ONLY else None
