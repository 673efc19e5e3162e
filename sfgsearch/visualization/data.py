"""The numbers behind figures, for your own plots and for reports."""

from sfgsearch.visualization._trial_review import TrialReview
from sfgsearch.visualization.figures._activations import ActivationMaps, FilterMaps, activation_maps
from sfgsearch.visualization.figures._best_allocations import BestAllocation, best_allocations
from sfgsearch.visualization.figures._budget import BudgetCurve, budget_curves
from sfgsearch.visualization.figures._comparison import MetricPanel, MetricPoint, comparison_panels, one_metric_each
from sfgsearch.visualization.figures._pareto import ParetoData, ParetoPoint, pareto_data
from sfgsearch.visualization.figures._simplex import LayerSimplex, layer_simplex
from sfgsearch.visualization.figures._tuning_importances import ParameterSlice, Tuning, tuning

__all__ = [
    "ActivationMaps",
    "BestAllocation",
    "BudgetCurve",
    "FilterMaps",
    "LayerSimplex",
    "MetricPanel",
    "MetricPoint",
    "ParameterSlice",
    "ParetoData",
    "ParetoPoint",
    "TrialReview",
    "Tuning",
    "activation_maps",
    "best_allocations",
    "budget_curves",
    "comparison_panels",
    "layer_simplex",
    "one_metric_each",
    "pareto_data",
    "tuning",
]
