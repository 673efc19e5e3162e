"""Numbers, names and addresses of study files, with the bounds beyond which nothing could work."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from sfgsearch.config._settings import SMALLEST
from sfgsearch.errors import StudyError
from sfgsearch.storage._urls import parse_url

_MOST_TRIALS = 10_000
DAY = 86_400.0
_LARGEST = 1 / SMALLEST


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("must be printable characters, without blanks at the ends")
    return name


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", name):
        raise ValueError("must be auto, cpu, cuda or cuda:N")
    return name


def _database_url(url: str) -> str:
    try:
        parse_url(url)
    except StudyError as error:
        raise ValueError(str(error)) from None
    return url


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("its name is no UTF-8; give it another one, or a link that has one") from None
    return text


Count = Annotated[int, Field(ge=0, le=1_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000)]
Total = Annotated[int, Field(ge=1, le=_MOST_TRIALS)]
Trials = Annotated[int, Field(ge=0, le=_MOST_TRIALS)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[int, Field(ge=1, le=1000)]
Samples = Annotated[int, Field(ge=0, le=1000)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Retries = Annotated[int, Field(ge=0, le=1000)]
Weight = Annotated[float, Field(ge=SMALLEST, le=_LARGEST)]
LearningRate = Annotated[float, Field(ge=1e-12, le=10.0)]
LengthScale = Annotated[float, Field(ge=0.0, le=1000.0)]
Concentration = Annotated[float, Field(ge=1e-3, le=_LARGEST)]
Device = Annotated[str, AfterValidator(_device)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
UTF8 = Annotated[str, AfterValidator(_utf8)]
Folder = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_printable)]
DatabaseURL = Annotated[str, AfterValidator(_database_url)]


def check(option: str, kind: Any, value: Any, *, is_secret: bool = False) -> None:
    """Check what a command line says, if it does, as the study file's key of the same meaning is.

    Args:
        option: Its name, for the error.
        kind: One of the types above.
        value: What it says; None for nothing.
        is_secret: Whether the error keeps the value for itself.

    Raises:
        ValueError: If the value is none of the type.
    """
    if value is None:
        return
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{option}: {reason}{'' if is_secret else f', got {value!r}'}") from None
