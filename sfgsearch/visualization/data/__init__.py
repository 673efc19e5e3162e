"""The numbers that figures show, for both drawing libraries and for your own plots."""

from sfgsearch.visualization.data._activations import ActivationMaps, FilterMaps, activation_maps
from sfgsearch.visualization.data._allocations import BestAllocation, best_allocations
from sfgsearch.visualization.data._budget import BudgetCurve, budget_curves
from sfgsearch.visualization.data._comparison import MetricPanel, MetricPoint, comparison_panels
from sfgsearch.visualization.data._curves import Curve, CurvePanel, Curves, curves
from sfgsearch.visualization.data._layers import layer_shares
from sfgsearch.visualization.data._pareto import Cloud, ParetoPoint, pareto_cloud
from sfgsearch.visualization.data._simplex import LayerSimplex, Simplex, simplex
from sfgsearch.visualization.data._trajectories import Trajectories, trajectories
from sfgsearch.visualization.data._trial_review import TrialReview
from sfgsearch.visualization.data._tuning import ParameterSlice, Tuning, tuning

__all__ = [
    "ActivationMaps",
    "BestAllocation",
    "BudgetCurve",
    "Cloud",
    "Curve",
    "CurvePanel",
    "Curves",
    "FilterMaps",
    "LayerSimplex",
    "MetricPanel",
    "MetricPoint",
    "ParameterSlice",
    "ParetoPoint",
    "Simplex",
    "Trajectories",
    "TrialReview",
    "Tuning",
    "activation_maps",
    "best_allocations",
    "budget_curves",
    "comparison_panels",
    "curves",
    "layer_shares",
    "pareto_cloud",
    "simplex",
    "trajectories",
    "tuning",
]
