"""Paths of modules and parameters, as users name them."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from torch import nn

from sfgsearch.errors import BackboneError

_SHOWN = 8


def is_within(path: str, modules: Iterable[str]) -> bool:
    """Return whether a module or parameter is one of some modules or parameters, or inside one."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)


def paths_in(network: nn.Module) -> list[str]:
    """Return the paths of all modules inside a network, and of its parameters."""
    modules = [path for path, _ in network.named_modules() if path]
    return [*modules, *(name for name, _ in network.named_parameters(remove_duplicate=False))]


def matching(option: str, patterns: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the paths in a network that patterns such as ``"layer4"`` or ``"layer*.bn*"`` match.

    Args:
        option: The option that the patterns are of, for the error's message.
        patterns: Paths, in which ``*`` stands for any characters.
        known: All paths in the network.

    Raises:
        BackboneError: If a pattern matches none.
    """
    found = {pattern: fnmatch.filter(known, pattern) for pattern in patterns}
    for pattern, paths in found.items():
        if not paths:
            close = difflib.get_close_matches(pattern, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known[:_SHOWN])} and more"
            raise BackboneError(f"{option}: the network has no {pattern!r}; {hint}")
    return tuple(dict.fromkeys(path for paths in found.values() for path in paths))
