"""Training: one trainer, one evaluation and one score for every method."""

from sfgsearch.training._evaluate import UNCERTAINTY, RelativeError, evaluate
from sfgsearch.training._experiment import Experiment, MonteCarlo, Trained
from sfgsearch.training._settings import TrainingSettings, resolve_device
from sfgsearch.training._trainer import EpochReport, train

__all__ = [
    "UNCERTAINTY",
    "EpochReport",
    "Experiment",
    "MonteCarlo",
    "RelativeError",
    "Trained",
    "TrainingSettings",
    "evaluate",
    "resolve_device",
    "train",
]
