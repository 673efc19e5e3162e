"""Networks of filter groups: layers, builders, derivation and prediction. Knows torch, and nothing of Optuna."""

from sfgsearch.nn._activations import stream_activations
from sfgsearch.nn._allocated import AllocatedConv
from sfgsearch.nn._allocated_builder import AllocatedBuilder
from sfgsearch.nn._blocks import MakeBlock, StreamBlock
from sfgsearch.nn._branched import BranchingBuilder
from sfgsearch.nn._builder import ConvRequest, LayerBuilder, SFGBuilder, SurveyBuilder
from sfgsearch.nn._complexity import Complexity, complexity
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d
from sfgsearch.nn._convert import ConvertedNetwork, convert
from sfgsearch.nn._cross_stitch import (
    CrossStitch,
    CrossStitchBuilder,
    CrossStitchConv,
    Granularity,
    cross_stitch_structure,
)
from sfgsearch.nn._derive import Derived, derive
from sfgsearch.nn._grouped import GroupedNetwork, from_model
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._monte_carlo import MonteCarloEnsemble
from sfgsearch.nn._network import Backbone, Head, MultiTaskNetwork, NetworkSpec, initialise, sfg_layers
from sfgsearch.nn._norms import norm_factory
from sfgsearch.nn._routed import RoutedBlocks, RoutedBuilder, RoutedConv, routed_allocation, routed_structure
from sfgsearch.nn._routes import DrawnRoute
from sfgsearch.nn._state import plain_state
from sfgsearch.nn._statistics import reestimate_statistics
from sfgsearch.nn._streams import AddStreams, EachStream, StreamLayout, Streams, map_streams
from sfgsearch.nn._structure import Structure, allocated_structure, monte_carlo_structure, structures
from sfgsearch.nn._tree import Tree, TreeBuilder, branched_structure, likely_tree, prune

__all__ = [
    "AddStreams",
    "AllocatedBuilder",
    "AllocatedConv",
    "Backbone",
    "BranchingBuilder",
    "Complexity",
    "ConvRequest",
    "ConvertedNetwork",
    "CrossStitch",
    "CrossStitchBuilder",
    "CrossStitchConv",
    "Derived",
    "DrawnRoute",
    "EachStream",
    "FilterGroups",
    "GateSampling",
    "Granularity",
    "GroupedNetwork",
    "Head",
    "LayerBuilder",
    "MakeBlock",
    "MonteCarloEnsemble",
    "MultiTaskNetwork",
    "NetworkSpec",
    "RoutedBlocks",
    "RoutedBuilder",
    "RoutedConv",
    "SFGBuilder",
    "SFGConv",
    "SFGConv2d",
    "SFGConv3d",
    "StreamBlock",
    "StreamLayout",
    "Streams",
    "Structure",
    "SurveyBuilder",
    "Tree",
    "TreeBuilder",
    "allocated_structure",
    "branched_structure",
    "complexity",
    "convert",
    "cross_stitch_structure",
    "derive",
    "from_model",
    "initialise",
    "likely_tree",
    "map_streams",
    "monte_carlo_structure",
    "norm_factory",
    "plain_state",
    "prune",
    "reestimate_statistics",
    "routed_allocation",
    "routed_structure",
    "sfg_layers",
    "stream_activations",
    "structures",
]
