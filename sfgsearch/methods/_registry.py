"""The registry of manual methods."""

from __future__ import annotations

from collections.abc import Callable

from sfgsearch._registry import Registry
from sfgsearch.methods._method import Method

manual_methods: Registry[Callable[..., Method]] = Registry(
    "manual method", "@sfgsearch.methods.manual_methods.register('my_method')"
)
"""Functions of ``(spec, *, options...)``; the keyword options are what a study file may set."""
