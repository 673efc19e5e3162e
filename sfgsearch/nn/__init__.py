"""Networks of filter groups: layers, any module in groups, and prediction. Knows torch, and nothing of Optuna."""

from sfgsearch._choices import Execution
from sfgsearch.graph import PerStream
from sfgsearch.nn._activations import mapped_layers, stream_activations
from sfgsearch.nn._assignments import Assignment, assignment_rows, count_assignment, deal, deal_by_weight, rows_by_space
from sfgsearch.nn._branching import DrawnRoute, DrawnRoutes, build_branching, draw_tree_cost
from sfgsearch.nn._complexity import Complexity, complexity
from sfgsearch.nn._conv import EachStream, NormName, SFGConv, SFGConv2d, SFGConv3d, Streams, map_streams, norm_factory
from sfgsearch.nn._fusion import (
    CrossStitch,
    Fusion,
    FusionLayer,
    Granularity,
    build_cross_stitch,
    build_nddr,
    cross_stitch_structure,
    nddr_structure,
)
from sfgsearch.nn._grouped import AssignedNetwork, GroupedNetwork, from_model
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._network import (
    Head,
    MultiTaskNetwork,
    NetworkSpec,
    SingleTaskNetworks,
    TaskLike,
)
from sfgsearch.nn._parameters import backbone_parameters
from sfgsearch.nn._policies import (
    BlockGate,
    DrawnPolicy,
    Policy,
    SelectedBlocks,
    blocks_to_select,
    build_shared,
    likely_policy,
    policy_of,
    policy_structure,
    select_blocks,
)
from sfgsearch.nn._prediction import MonteCarloEnsemble, plain_state, reestimate_statistics
from sfgsearch.nn._routed import LearnedRouting, RoutedNetwork, routed_allocation, routed_masks, routed_structure
from sfgsearch.nn._structure import (
    Structure,
    allocated_structure,
    monte_carlo_structure,
    single_task_structure,
    structures,
)
from sfgsearch.nn._tree import Tree, TreeRoutes, branched_structure, build_tree, likely_tree, prune, tree_readers

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
    "NormName",
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
    "TaskLike",
    "Tree",
    "TreeRoutes",
    "allocated_structure",
    "assignment_rows",
    "backbone_parameters",
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
    "deal_by_weight",
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
