"""Training: one trainer, one evaluation and one score for every method; checkpoints to go on from."""

from sfgsearch._choices import Precision, Weighting
from sfgsearch.training._checkpoint import Checkpoint, CheckpointFolder
from sfgsearch.training._evaluate import UNCERTAINTY, RelativeError, evaluate
from sfgsearch.training._experiment import Experiment, MonteCarlo, Trained
from sfgsearch.training._report import EpochReport
from sfgsearch.training._session import FolderSession, TrainingSession
from sfgsearch.training._settings import TrainingSettings, resolve_device
from sfgsearch.training._trainer import Trainer

__all__ = [
    "UNCERTAINTY",
    "Checkpoint",
    "CheckpointFolder",
    "EpochReport",
    "Experiment",
    "FolderSession",
    "MonteCarlo",
    "Precision",
    "RelativeError",
    "Trained",
    "Trainer",
    "TrainingSession",
    "TrainingSettings",
    "Weighting",
    "evaluate",
    "resolve_device",
]
