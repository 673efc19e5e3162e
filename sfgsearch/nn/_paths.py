"""Paths of modules and parameters, as users name them."""

from __future__ import annotations

import difflib
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


def check_paths(option: str, paths: Iterable[str], known: Sequence[str]) -> None:
    """Check that a network has the modules or parameters that an option names.

    Raises:
        BackboneError: If it lacks one.
    """
    for path in paths:
        if path not in known:
            close = difflib.get_close_matches(path, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known[:_SHOWN])} and more"
            raise BackboneError(f"{option}: the network has no {path!r}; {hint}")
