"""The figures of :mod:`sfgsearch.visualization` for files, as figures of matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfgsearch.visualization.figures import plot_function, plot_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_png", *plot_names()]


def as_png(figure: Figure, width: int | None = None) -> bytes:
    """Return a figure as a small PNG file without transparency."""
    from sfgsearch.visualization.matplotlib import _renderer

    return _renderer.as_png(figure, width)


def __getattr__(name: str) -> Any:
    return plot_function(name, "sfgsearch.visualization.matplotlib._renderer")


def __dir__() -> list[str]:
    return __all__
