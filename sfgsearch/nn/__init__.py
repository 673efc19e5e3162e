"""Networks of filter groups: layers, builders, derivation and prediction. Knows torch, and nothing of Optuna."""

from sfgsearch.nn._allocated import AllocatedConv
from sfgsearch.nn._allocated_builder import AllocatedBuilder
from sfgsearch.nn._blocks import MakeBlock, StreamBlock
from sfgsearch.nn._builder import ConvRequest, LayerBuilder, SFGBuilder, SurveyBuilder
from sfgsearch.nn._complexity import Complexity, complexity
from sfgsearch.nn._conv import SFGConv, SFGConv2d, SFGConv3d
from sfgsearch.nn._derive import Derived, derive
from sfgsearch.nn._groups import FilterGroups, GateSampling
from sfgsearch.nn._monte_carlo import MonteCarloEnsemble
from sfgsearch.nn._network import Backbone, Head, MultiTaskNetwork, NetworkSpec, initialise, sfg_layers
from sfgsearch.nn._state import plain_state
from sfgsearch.nn._statistics import reestimate_statistics
from sfgsearch.nn._streams import AddStreams, EachStream, StreamLayout, Streams, map_streams
from sfgsearch.nn._structure import Structure, allocated_structure, monte_carlo_structure, structures

__all__ = [
    "AddStreams",
    "AllocatedBuilder",
    "AllocatedConv",
    "Backbone",
    "Complexity",
    "ConvRequest",
    "Derived",
    "EachStream",
    "FilterGroups",
    "GateSampling",
    "Head",
    "LayerBuilder",
    "MakeBlock",
    "MonteCarloEnsemble",
    "MultiTaskNetwork",
    "NetworkSpec",
    "SFGBuilder",
    "SFGConv",
    "SFGConv2d",
    "SFGConv3d",
    "StreamBlock",
    "StreamLayout",
    "Streams",
    "Structure",
    "SurveyBuilder",
    "allocated_structure",
    "complexity",
    "derive",
    "initialise",
    "map_streams",
    "monte_carlo_structure",
    "plain_state",
    "reestimate_statistics",
    "sfg_layers",
    "structures",
]
