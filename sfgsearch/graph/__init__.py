"""Networks as graphs of filters: what can be allocated in any module, and three ways to execute an allocation."""

from sfgsearch.graph._analysis import Analysis, ChannelSpace, Layer, Norm, analyse
from sfgsearch.graph._compact import GroupedLayer, compact
from sfgsearch.graph._dense import DenseNetwork, bake
from sfgsearch.graph._masks import Masks, apply_mask
from sfgsearch.graph._norms import GroupedNorm
from sfgsearch.graph._repair import check_assignment, repair_assignment, unread_filters
from sfgsearch.graph._streams import StreamsNetwork
from sfgsearch.graph._trace import evaluating

__all__ = [
    "Analysis",
    "ChannelSpace",
    "DenseNetwork",
    "GroupedLayer",
    "GroupedNorm",
    "Layer",
    "Masks",
    "Norm",
    "StreamsNetwork",
    "analyse",
    "apply_mask",
    "bake",
    "check_assignment",
    "compact",
    "evaluating",
    "repair_assignment",
    "unread_filters",
]
