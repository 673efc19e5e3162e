"""Training: one trainer, one evaluation and one score for every method."""

from sfgsearch.training._evaluate import RelativeError, evaluate
from sfgsearch.training._experiment import Experiment, Trained
from sfgsearch.training._settings import TrainingSettings, resolve_device
from sfgsearch.training._trainer import EpochReport, train

__all__ = [
    "EpochReport",
    "Experiment",
    "RelativeError",
    "Trained",
    "TrainingSettings",
    "evaluate",
    "resolve_device",
    "train",
]
