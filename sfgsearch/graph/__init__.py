"""Networks as graphs of filters: what can be allocated in any module, and three ways to execute an allocation."""

from sfgsearch.graph._analyse import analyse
from sfgsearch.graph._analysis import BACKBONE, TRUNK, Analysis, ChannelSpace, Layer, Norm, name_in_backbone
from sfgsearch.graph._compact import GroupedLayer, align_reads, compact
from sfgsearch.graph._dense import DenseNetwork, bake
from sfgsearch.graph._kinds import BATCH_NORMS, CONVOLUTIONS
from sfgsearch.graph._lockstep import Copies, Junction, LockstepNetwork, Read, Reading, Run, are_one, reached
from sfgsearch.graph._masking import call_masked
from sfgsearch.graph._masks import ExpectedCost, Masks, hard_gates, layer_macs, parameter_of
from sfgsearch.graph._norms import GroupedNorm, NormsByGroup
from sfgsearch.graph._patterns import FeatureMap, ResidualBlock, feature_map, residual_blocks, stage_ends
from sfgsearch.graph._propagation import PerStream
from sfgsearch.graph._repair import check_assignment, repair_assignment, unread_filters
from sfgsearch.graph._streams import FixedStreams, StreamsNetwork
from sfgsearch.graph._trace import evaluating, quiet
from sfgsearch.graph._verify import verify

__all__ = [
    "BACKBONE",
    "BATCH_NORMS",
    "CONVOLUTIONS",
    "TRUNK",
    "Analysis",
    "ChannelSpace",
    "Copies",
    "DenseNetwork",
    "ExpectedCost",
    "FeatureMap",
    "FixedStreams",
    "GroupedLayer",
    "GroupedNorm",
    "Junction",
    "Layer",
    "LockstepNetwork",
    "Masks",
    "Norm",
    "NormsByGroup",
    "PerStream",
    "Read",
    "Reading",
    "ResidualBlock",
    "Run",
    "StreamsNetwork",
    "align_reads",
    "analyse",
    "are_one",
    "bake",
    "call_masked",
    "check_assignment",
    "compact",
    "evaluating",
    "feature_map",
    "hard_gates",
    "layer_macs",
    "name_in_backbone",
    "parameter_of",
    "quiet",
    "reached",
    "repair_assignment",
    "residual_blocks",
    "stage_ends",
    "unread_filters",
    "verify",
]
