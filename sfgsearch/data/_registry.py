"""The table of data sets that study files can name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from sfgsearch._registry import Registry
from sfgsearch.data._splits import MultiTaskData

data_sets: Registry[Callable[..., MultiTaskData]] = Registry(
    "data set", "@sfgsearch.data.data_sets.register('my_data')"
)
"""Functions of ``(seed, *, options...)``; the keyword options are what a study file may set. The seed fixes how
images are divided into splits; data with splits of their own say ``is_fixed=True``."""


def takes_path(load: Callable[..., MultiTaskData]) -> bool:
    """Tell whether a data set has the option ``path``, where the user's own copy is."""
    return _path_of(load) is not None


def needs_path(load: Callable[..., MultiTaskData]) -> bool:
    """Tell whether a data set has the option ``path`` and no default for it."""
    path = _path_of(load)
    return path is not None and path.default is inspect.Parameter.empty


def _path_of(load: Callable[..., MultiTaskData]) -> inspect.Parameter | None:
    path = inspect.signature(load).parameters.get("path")
    return path if path is not None and path.kind is inspect.Parameter.KEYWORD_ONLY else None
