"""Methods: the ways in which an allocation comes about, and how a network is trained under each."""

from sfgsearch._choices import PriorFamily
from sfgsearch._registry import manual_methods
from sfgsearch.methods._adashare import AdaShare, FixedPolicy
from sfgsearch.methods._branching import FixedTree, LearningToBranch
from sfgsearch.methods._fixed import FixedAllocation
from sfgsearch.methods._fusion import CrossStitchNetworks, NDDRNetworks
from sfgsearch.methods._learned_routing import FixedRouting, GumbelRouting
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._random_routing import MaximumRoaming, TaskRouting
from sfgsearch.methods._settings import InitialSettings, PriorSettings, SFGSettings
from sfgsearch.methods._sfg import ConstantProbabilities, StochasticFilterGroups

__all__ = [
    "AdaShare",
    "Calibration",
    "ConstantProbabilities",
    "CrossStitchNetworks",
    "FixedAllocation",
    "FixedPolicy",
    "FixedRouting",
    "FixedTree",
    "GumbelRouting",
    "InitialSettings",
    "LearningToBranch",
    "MaximumRoaming",
    "Method",
    "NDDRNetworks",
    "PriorFamily",
    "PriorSettings",
    "Randomness",
    "SFGSettings",
    "StochasticFilterGroups",
    "System",
    "TaskRouting",
    "manual_methods",
]
