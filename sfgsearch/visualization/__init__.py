"""Pictures of what was learned and of whole studies."""

from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._best_allocations import plot_best_allocations
from sfgsearch.visualization._budget import plot_budget
from sfgsearch.visualization._comparison import plot_comparison
from sfgsearch.visualization._pareto import plot_pareto
from sfgsearch.visualization._tuning import plot_tuning_importances

__all__ = [
    "matplotlib",
    "plot_best_allocations",
    "plot_budget",
    "plot_comparison",
    "plot_pareto",
    "plot_tuning_importances",
]
