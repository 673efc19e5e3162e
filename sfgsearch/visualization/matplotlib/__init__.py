"""The same pictures for files: matplotlib twins of :mod:`sfgsearch.visualization`.

They return figures of matplotlib's object-oriented interface, which leave the state of pyplot alone.
"""

from sfgsearch.visualization.matplotlib._activations import plot_activations
from sfgsearch.visualization.matplotlib._allocation import plot_allocation
from sfgsearch.visualization.matplotlib._best_allocations import plot_best_allocations
from sfgsearch.visualization.matplotlib._budget import plot_budget
from sfgsearch.visualization.matplotlib._comparison import plot_comparison
from sfgsearch.visualization.matplotlib._history import plot_history
from sfgsearch.visualization.matplotlib._pareto import plot_pareto
from sfgsearch.visualization.matplotlib._probabilities import plot_probabilities
from sfgsearch.visualization.matplotlib._simplex import plot_simplex
from sfgsearch.visualization.matplotlib._tuning import plot_tuning_importances

__all__ = [
    "plot_activations",
    "plot_allocation",
    "plot_best_allocations",
    "plot_budget",
    "plot_comparison",
    "plot_history",
    "plot_pareto",
    "plot_probabilities",
    "plot_simplex",
    "plot_tuning_importances",
]
