"""Values that stand for a missing target in tables and arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Number = int | float
_TEXTS = frozenset({"", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "null", "NULL", "None"})
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE, _MOST_DIGITS = re.compile(r"[+-]?[0-9]+"), 18


def parse_number(text: str) -> Number | None:
    """Return the number that a text is, an int where it is a whole one of at most 18 digits; None if it is none.

    Unlike ``float`` and ``int`` it takes no underscores, no digits of other scripts and no ``inf``.
    """
    if not _NUMBER.fullmatch(text):
        return None
    if _WHOLE.fullmatch(text) and len(text.lstrip("+-")) <= _MOST_DIGITS:
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 10.0**_MOST_DIGITS else number


def normalise(text: str) -> str:
    """Return a text without blanks around it; that of a number is the same however it is written, as ``3`` and ``3.0``.

    A number that would lose digits is left as it is.
    """
    text = text.strip()
    number = parse_number(text)
    if isinstance(number, float) and (_WHOLE.fullmatch(text) or not math.isfinite(number)):
        return text
    return text if number is None else str(number)


@dataclass(frozen=True)
class MissingValues:
    """Values that stand for a missing target.

    NaN is always one, and so are an empty text and what programs commonly write for it, such as ``NA`` and ``None``.

    Args:
        texts: Further texts.
        numbers: Numbers, in whichever way they are written.
    """

    texts: frozenset[str] = frozenset()
    numbers: frozenset[Number] = frozenset()

    @classmethod
    def of(cls, values: Iterable[str | Number]) -> MissingValues:
        """Return texts and numbers as missing values; a text that is a number is both."""
        texts = [value.strip() if isinstance(value, str) else str(value) for value in values]
        numbers = [value if isinstance(value, int | float) else parse_number(value) for value in values]
        return cls(frozenset(texts), frozenset(number for number in numbers if number is not None))

    def includes(self, text: str) -> bool:
        """Tell whether a text stands for a missing target."""
        return text in _TEXTS or text in self.texts or (bool(self.numbers) and parse_number(text) in self.numbers)

    def find(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where targets are missing, in the shape of ``values``, texts or numbers."""
        if values.dtype.kind in "US":
            texts = [self.includes(text) for text in values.ravel().tolist()]
            return np.array(texts, dtype=bool).reshape(values.shape)
        missing = np.isnan(values) if values.dtype.kind in "fc" else np.zeros(values.shape, dtype=bool)
        for number in self.numbers if values.dtype.kind in "buifc" else ():
            missing |= values == number
        return missing


@dataclass(frozen=True)
class Values:
    """The targets of a task as they were read.

    Args:
        array: Texts or numbers of shape (N,), or (N, *space) for dense tasks.
        missing: Bool of the same shape: where there is no target, whatever ``array`` holds there.
    """

    array: NDArray[Any]
    missing: NDArray[np.bool_]
