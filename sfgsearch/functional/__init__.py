"""The mathematics of Stochastic Filter Groups as pure functions on tensors and floats."""

from sfgsearch._choices import InitialFamily, ScheduleFamily
from sfgsearch.functional._categorical import categorical_entropy, categorical_kl, gumbel_softmax, mutual_information
from sfgsearch.functional._objective import variational_objective
from sfgsearch.functional._partitions import random_masks, roam
from sfgsearch.functional._priors import initial_probs, linear_depth_prior, simplex, uniform_prior
from sfgsearch.functional._schedules import TemperatureSchedule, temperature

__all__ = [
    "InitialFamily",
    "ScheduleFamily",
    "TemperatureSchedule",
    "categorical_entropy",
    "categorical_kl",
    "gumbel_softmax",
    "initial_probs",
    "linear_depth_prior",
    "mutual_information",
    "random_masks",
    "roam",
    "simplex",
    "temperature",
    "uniform_prior",
    "variational_objective",
]
