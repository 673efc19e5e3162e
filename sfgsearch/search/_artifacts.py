"""Artifact files of trainings: what is too large for a database row."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from safetensors.torch import save_file
from torch import Tensor, nn

from sfgsearch.config import Config
from sfgsearch.training import EpochReport, Trained

PROBABILITIES_FILE = "probabilities.safetensors"
WEIGHTS_FILE = "weights.safetensors"
HISTORY_FILE = "history.json"

_logger = logging.getLogger(__name__)


def artifact_folder(config: Config) -> Path:
    """Return the folder of a study's artifacts, which need not exist."""
    return config.folder / "artifacts"


def upload_training(trial: optuna.Trial, trained: Trained, folder: Path) -> str | None:
    """Attach the per-filter probabilities and the history of a training to its trial.

    Args:
        trial: The running trial.
        trained: What it trained.
        folder: The artifact folder.

    Returns:
        The artifact id of the probabilities: one tensor (K, T+1) per layer; None for methods without any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(folder)
    upload_history(trial, trained.history, store)
    probabilities = trained.system.probabilities()
    if not probabilities:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / PROBABILITIES_FILE
        save_file({name: probs.contiguous() for name, probs in probabilities.items()}, file)
        return upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)


def upload_weights(
    place: optuna.Trial | optuna.Study, predictor: nn.Module, folder: Path, name: str = WEIGHTS_FILE
) -> str | None:
    """Attach the weights of a network that predicts to its trial or study.

    A network that cannot be saved is worth a warning in the log, not the training that it came from.

    Args:
        place: The running trial; for other trainings the study, since Optuna attaches nothing to trials that are over.
        predictor: The network; parameters and buffers are stored.
        folder: The artifact folder.
        name: The file's name in Optuna.

    Returns:
        The artifact id; None if the network cannot be saved.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / name
            save_file(plain_state(predictor), file)
            store = FileSystemArtifactStore(folder)
            return upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=place)
    except Exception as error:  # whatever a network of someone else's has in its state
        _logger.warning("%s: the weights cannot be stored: %s: %s", name, type(error).__name__, error)
        return None


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers as safetensors takes them: contiguous, on the CPU, none sharing memory.

    A tensor that a network uses in two places is stored under both names, so that any part of it is whole.
    """
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}


def upload_history(trial: optuna.Trial, history: list[EpochReport], store: FileSystemArtifactStore) -> None:
    """Attach losses, metrics, mean probabilities and entropies per epoch, as JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / HISTORY_FILE
        file.write_text(json.dumps({"version": 1, "epochs": [report.to_dict() for report in history]}))
        upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)
