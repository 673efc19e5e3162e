"""Artifact files of trials: what is too large for a database row."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from safetensors.torch import save_file

from sfgsearch.training import EpochReport, Trained

PROBABILITIES_FILE = "probabilities.safetensors"
HISTORY_FILE = "history.json"


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


def upload_history(trial: optuna.Trial, history: list[EpochReport], store: FileSystemArtifactStore) -> None:
    """Attach losses, metrics, mean probabilities and entropies per epoch, as JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / HISTORY_FILE
        file.write_text(json.dumps({"version": 1, "epochs": [report.to_dict() for report in history]}))
        upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)
