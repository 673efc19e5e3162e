"""The table of backbones that study files can name."""

from __future__ import annotations

from collections.abc import Callable

from sfgsearch._registry import Registry
from sfgsearch.nn import Backbone

backbones: Registry[Callable[..., Backbone]] = Registry(
    "backbone", "@sfgsearch.backbones.backbones.register('my_backbone')"
)
"""Functions of ``(layers, image_shape, *, options...)``; the keyword options are what a study file may set."""
