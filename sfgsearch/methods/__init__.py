"""Methods: the ways in which an allocation comes about, and how a network is trained under each."""

from sfgsearch.methods._adashare import AdaShare
from sfgsearch.methods._branching import FixedTree, LearningToBranch
from sfgsearch.methods._constant import ConstantProbabilities
from sfgsearch.methods._cross_stitch import CrossStitchNetworks
from sfgsearch.methods._fixed import FixedAllocation
from sfgsearch.methods._learned_routing import FixedRouting, GumbelRouting
from sfgsearch.methods._manual import manual_methods
from sfgsearch.methods._maximum_roaming import MaximumRoaming
from sfgsearch.methods._method import Calibration, Method, Randomness, System
from sfgsearch.methods._nddr import NDDRNetworks
from sfgsearch.methods._policies import FixedPolicy
from sfgsearch.methods._settings import InitialSettings, PriorSettings, SFGSettings
from sfgsearch.methods._sfg import StochasticFilterGroups
from sfgsearch.methods._task_routing import TaskRouting

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
    "PriorSettings",
    "Randomness",
    "SFGSettings",
    "StochasticFilterGroups",
    "System",
    "TaskRouting",
    "manual_methods",
]
