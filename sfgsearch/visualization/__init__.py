"""Pictures of what was learned and of whole studies."""

from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._allocation import plot_allocation
from sfgsearch.visualization._best_allocations import plot_best_allocations
from sfgsearch.visualization._budget import plot_budget
from sfgsearch.visualization._comparison import plot_comparison
from sfgsearch.visualization._history import plot_history
from sfgsearch.visualization._pareto import plot_pareto
from sfgsearch.visualization._probabilities import plot_probabilities
from sfgsearch.visualization._simplex import plot_simplex
from sfgsearch.visualization._tuning import plot_tuning_importances
from sfgsearch.visualization.data._activations import activation_maps
from sfgsearch.visualization.data._trial_review import TrialReview

__all__ = [
    "TrialReview",
    "activation_maps",
    "matplotlib",
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
