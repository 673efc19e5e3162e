"""The numbers that figures of whole studies show, for both drawing libraries and for your own plots."""

from sfgsearch.visualization.data._allocations import BestAllocation, best_allocations
from sfgsearch.visualization.data._budget import BudgetCurve, budget_curves
from sfgsearch.visualization.data._comparison import MetricPanel, MetricPoint, comparison_panels
from sfgsearch.visualization.data._pareto import Cloud, ParetoPoint, pareto_cloud
from sfgsearch.visualization.data._tuning import ParameterSlice, Tuning, tuning

__all__ = [
    "BestAllocation",
    "BudgetCurve",
    "Cloud",
    "MetricPanel",
    "MetricPoint",
    "ParameterSlice",
    "ParetoPoint",
    "Tuning",
    "best_allocations",
    "budget_curves",
    "comparison_panels",
    "pareto_cloud",
    "tuning",
]
