"""The table of backbones that study files can name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sfgsearch._registry import Registry

backbones: Registry[Callable[..., nn.Module]] = Registry(
    "backbone", "@sfgsearch.backbones.backbones.register('my_backbone')"
)
"""Functions of ``(image_shape, *, options...)`` that return any module of features; see
:class:`sfgsearch.nn.MultiTaskNetwork`. The keyword options are what a study file may set; the study's norm is one. An
option ``width``, a float that scales the filters of all layers, lets a comparison match multiply-adds."""
