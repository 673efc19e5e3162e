"""The words that study files choose from; without torch, so that reading a study file needs none."""

from __future__ import annotations

from typing import Literal

FlipAxis = Literal["horizontal", "vertical", "depth"]
Padding = Literal["reflect", "zero"]
InitialFamily = Literal["prior", "fixed", "dirichlet", "near_vertex"]
PriorFamily = Literal["sharing", "uniform", "fixed", "linear", "learned"]
ScheduleFamily = Literal["constant", "exponential", "linear", "cosine"]
Execution = Literal["dense", "streams"]
OptimiserName = Literal["adam", "adamw", "sgd"]
LearningRateSchedule = Literal["cosine", "constant", "step", "one_cycle"]
Precision = Literal["float32", "bf16"]
Weighting = Literal["fixed", "fitted", "uncertainty"]
SearchSpace = Literal["layers", "curve"]
WarmStart = Literal["hard_sharing", "equal", "linear"]

FRACTION = "fraction"
"""The unit of metrics between 0 and 1, which people read in percent."""

SPLIT_NAMES = ("train", "validation", "test")
