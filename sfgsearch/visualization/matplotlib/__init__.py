"""The same pictures for files: matplotlib twins of :mod:`sfgsearch.visualization`.

They return figures of matplotlib's object-oriented interface, which leave the state of pyplot alone.
"""

from sfgsearch.visualization.matplotlib._best_allocations import plot_best_allocations
from sfgsearch.visualization.matplotlib._budget import plot_budget
from sfgsearch.visualization.matplotlib._comparison import plot_comparison
from sfgsearch.visualization.matplotlib._pareto import plot_pareto
from sfgsearch.visualization.matplotlib._tuning import plot_tuning_importances

__all__ = [
    "plot_best_allocations",
    "plot_budget",
    "plot_comparison",
    "plot_pareto",
    "plot_tuning_importances",
]
