"""A table of named, pluggable parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from sfgsearch.errors import RegistryError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Maps names to parts of one sort and explains itself when a name is missing.

    Args:
        sort: What the parts are, in the singular, for error messages (``"backbone"``).
        how_to_register: The decorator that a user would write to add one.
    """

    def __init__(self, sort: str, how_to_register: str) -> None:
        self._sort = sort
        self._how_to_register = how_to_register
        self._parts: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds a part under ``name``.

        Raises:
            RegistryError: If the name is taken.
        """
        if name in self._parts:
            raise RegistryError(f"{self._sort} {name!r} is registered already; choose another name")

        def add(part: T) -> T:
            self._parts[name] = part
            return part

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            raise RegistryError(
                f"no {self._sort} is called {name!r}; allowed: {', '.join(sorted(self._parts))} "
                f"(add one with {self._how_to_register})"
            )
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
