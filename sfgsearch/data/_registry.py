"""The table of data sets that study files can name."""

from __future__ import annotations

from collections.abc import Callable

from sfgsearch._registry import Registry
from sfgsearch.data._splits import MultiTaskData

data_sets: Registry[Callable[..., MultiTaskData]] = Registry(
    "data set", "@sfgsearch.data.data_sets.register('my_data')"
)
"""Functions of ``(seed, *, options...)``; the keyword options are what a study file may set."""
