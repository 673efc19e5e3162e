"""Errors that list rows."""

from __future__ import annotations

from collections.abc import Sequence

from sfgsearch.errors import DataError

LISTED = 20
"""How many things an error lists before it counts the rest."""


def bad_rows(problems: Sequence[str], remedy: str) -> DataError:
    """Return an error that lists bad rows and says what to do.

    Args:
        problems: Each names a row and says what is wrong with it.
        remedy: What to do.
    """
    listed = enumerate_some(problems, "; ")
    return DataError(f"{len(problems)} bad {'row' if len(problems) == 1 else 'rows'}: {listed}; {remedy}")


def enumerate_some(items: Sequence[object], separator: str = ", ") -> str:
    """Return the first items as text, and how many more there are."""
    more = f"{separator}and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return separator.join(map(str, items[:LISTED])) + more
