"""Every figure as a description that any renderer draws: one file and one entry each.

To add a figure ``rank``, write ``_rank.py`` with a function ``rank_figure``, which reads what it shows and returns a
:class:`~sfgsearch.visualization._description.Figure`, and add its name to :data:`FIGURES`. Then
:func:`sfgsearch.visualization.plot_rank` draws it with plotly, and ``plot_rank`` of
:mod:`sfgsearch.visualization.matplotlib` with matplotlib.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

from sfgsearch.visualization._description import Figure

FIGURES = [
    "activations",
    "allocation",
    "best_allocations",
    "budget",
    "comparison",
    "history",
    "pareto",
    "probabilities",
    "simplex",
    "tuning_importances",
]
"""The names of all figures."""

_PREFIX = "plot_"


def plot_names() -> list[str]:
    """Return the names of the functions that draw figures."""
    return [_PREFIX + name for name in FIGURES]


def describe(name: str, *args: Any, **options: Any) -> Figure:
    """Return the description of a figure of :data:`FIGURES`; arguments are those of its function ``plot_<name>``."""
    figure: Figure = _function(name)(*args, **options)
    return figure


def plot_function(name: str, renderer: str) -> Callable[..., Any]:
    """Return the function called ``plot_<figure>`` that draws with a renderer, which is loaded when it is called.

    Args:
        name: The name of the function.
        renderer: A module whose ``draw`` takes a description.

    Raises:
        AttributeError: If there is no such figure.
    """
    if name not in plot_names():
        raise AttributeError(f"there is no {name!r}; figures are drawn by {', '.join(plot_names())}")
    describe = _function(name.removeprefix(_PREFIX))

    @functools.wraps(describe)
    def plot(*args: Any, **options: Any) -> Any:
        return import_module(renderer).draw(describe(*args, **options))

    plot.__name__ = plot.__qualname__ = name
    return plot


def _function(name: str) -> Callable[..., Figure]:
    function: Callable[..., Figure] = getattr(import_module(f"{__name__}._{name}"), f"{name}_figure")
    return function
