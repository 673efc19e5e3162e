"""Training: one trainer, one evaluation and one score for every method; checkpoints to go on from."""

from sfgsearch._choices import Precision, Weighting
from sfgsearch.training._checkpoint import Checkpoint, CheckpointFolder
from sfgsearch.training._evaluate import UNCERTAINTY, RelativeError, evaluate
from sfgsearch.training._experiment import Experiment
from sfgsearch.training._results import EpochReport, MonteCarlo, Trained
from sfgsearch.training._run import OnEpoch
from sfgsearch.training._session import Capture, FolderSession, RememberingSession, TrainingSession
from sfgsearch.training._settings import TrainingSettings, resolve_device
from sfgsearch.training._trainer import Trainer

__all__ = [
    "UNCERTAINTY",
    "Capture",
    "Checkpoint",
    "CheckpointFolder",
    "EpochReport",
    "Experiment",
    "FolderSession",
    "MonteCarlo",
    "OnEpoch",
    "Precision",
    "RelativeError",
    "RememberingSession",
    "Trained",
    "Trainer",
    "TrainingSession",
    "TrainingSettings",
    "Weighting",
    "evaluate",
    "resolve_device",
]
