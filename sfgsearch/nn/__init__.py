"""Networks of filter groups: layers, any module in groups, and prediction. Knows torch, and nothing of Optuna."""

from sfgsearch._choices import Execution
from sfgsearch.graph import PerStream
from sfgsearch.nn._activations import mapped_layers, stream_activations
from sfgsearch.nn._block_gates import BlockGate, DrawnPolicy, Policy, blocks_to_select
from sfgsearch.nn._complexity import Complexity, complexity
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d
from sfgsearch.nn._cross_stitch import CrossStitch, Granularity, build_cross_stitch, cross_stitch_structure
from sfgsearch.nn._grouped import (
    AssignedNetwork,
    Assignment,
    GroupedNetwork,
    assignment_rows,
    count_assignment,
    deal,
    from_model,
    rows_by_space,
)
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._learned_routes import LearnedRouting
from sfgsearch.nn._monte_carlo import MonteCarloEnsemble
from sfgsearch.nn._nddr import Fusion, FusionLayer, build_nddr, nddr_structure
from sfgsearch.nn._network import Head, MultiTaskNetwork, NetworkSpec
from sfgsearch.nn._norms import norm_factory
from sfgsearch.nn._policies import (
    SelectedBlocks,
    build_shared,
    likely_policy,
    policy_of,
    policy_structure,
    select_blocks,
)
from sfgsearch.nn._routed import RoutedNetwork, routed_allocation, routed_masks, routed_structure
from sfgsearch.nn._routes import DrawnRoute, DrawnRoutes, build_branching
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
from sfgsearch.nn._tree import Tree, TreeRoutes, branched_structure, build_tree, likely_tree, prune, tree_readers
from sfgsearch.nn._tree_cost import draw_tree_cost

__all__ = [
    "AssignedNetwork",
    "Assignment",
    "BlockGate",
    "Complexity",
    "CrossStitch",
    "DrawnPolicy",
    "DrawnRoute",
    "DrawnRoutes",
    "EachStream",
    "Execution",
    "FilterGroups",
    "Fusion",
    "FusionLayer",
    "GateSampling",
    "Granularity",
    "GroupedNetwork",
    "Head",
    "LearnedRouting",
    "MonteCarloEnsemble",
    "MultiTaskNetwork",
    "NetworkSpec",
    "PerStream",
    "Policy",
    "RoutedNetwork",
    "SFGConv",
    "SFGConv2d",
    "SFGConv3d",
    "SelectedBlocks",
    "SingleTaskNetworks",
    "Streams",
    "Structure",
    "Tree",
    "TreeRoutes",
    "allocated_structure",
    "assignment_rows",
    "blocks_to_select",
    "branched_structure",
    "build_branching",
    "build_cross_stitch",
    "build_nddr",
    "build_shared",
    "build_tree",
    "complexity",
    "count_assignment",
    "cross_stitch_structure",
    "deal",
    "draw_tree_cost",
    "from_model",
    "likely_policy",
    "likely_tree",
    "map_streams",
    "mapped_layers",
    "monte_carlo_structure",
    "nddr_structure",
    "norm_factory",
    "plain_state",
    "policy_of",
    "policy_structure",
    "prune",
    "reestimate_statistics",
    "routed_allocation",
    "routed_masks",
    "routed_structure",
    "rows_by_space",
    "select_blocks",
    "single_task_structure",
    "stream_activations",
    "structures",
    "tree_readers",
]
