"""Networks of filter groups: layers, any module in groups, and prediction. Knows torch, and nothing of Optuna."""

from sfgsearch.nn._activations import mapped_layers, stream_activations
from sfgsearch.nn._complexity import Complexity, complexity
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d
from sfgsearch.nn._grouped import (
    AssignedNetwork,
    Assignment,
    Execution,
    GroupedNetwork,
    assignment_rows,
    count_assignment,
    deal,
    from_model,
    rows_by_space,
)
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._monte_carlo import MonteCarloEnsemble
from sfgsearch.nn._network import Head, MultiTaskNetwork, NetworkSpec
from sfgsearch.nn._norms import norm_factory
from sfgsearch.nn._routed import RoutedNetwork, routed_allocation, routed_structure
from sfgsearch.nn._single_task import SingleTaskNetworks
from sfgsearch.nn._state import plain_state
from sfgsearch.nn._statistics import reestimate_statistics
from sfgsearch.nn._streams import EachStream, Streams, map_streams
from sfgsearch.nn._structure import (
    Structure,
    allocated_structure,
    monte_carlo_structure,
    single_task_structure,
    structures,
)

__all__ = [
    "AssignedNetwork",
    "Assignment",
    "Complexity",
    "EachStream",
    "Execution",
    "FilterGroups",
    "GateSampling",
    "GroupedNetwork",
    "Head",
    "MonteCarloEnsemble",
    "MultiTaskNetwork",
    "NetworkSpec",
    "RoutedNetwork",
    "SFGConv",
    "SFGConv2d",
    "SFGConv3d",
    "SingleTaskNetworks",
    "Streams",
    "Structure",
    "allocated_structure",
    "assignment_rows",
    "complexity",
    "count_assignment",
    "deal",
    "from_model",
    "map_streams",
    "mapped_layers",
    "monte_carlo_structure",
    "norm_factory",
    "plain_state",
    "reestimate_statistics",
    "routed_allocation",
    "routed_structure",
    "rows_by_space",
    "single_task_structure",
    "stream_activations",
    "structures",
]
