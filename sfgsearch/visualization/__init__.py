"""Figures of what was learned and of whole studies, drawn with plotly; :mod:`.matplotlib` draws the same for files.

Every figure is one description (:mod:`._description`) in one file (:mod:`.figures`), which two renderers draw. None of
the drawing libraries is loaded before a figure is drawn with it.
"""

from __future__ import annotations

from typing import Any

from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._layout import CARD, PAGE, FigureSize
from sfgsearch.visualization._trial_review import TrialReview
from sfgsearch.visualization.figures import plot_function, plot_names
from sfgsearch.visualization.figures._activations import activation_maps

__all__ = ["CARD", "PAGE", "FigureSize", "TrialReview", "activation_maps", "matplotlib", *plot_names()]


def __getattr__(name: str) -> Any:
    return plot_function(name, "sfgsearch.visualization._plotly")


def __dir__() -> list[str]:
    return __all__
