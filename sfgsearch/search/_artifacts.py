"""Artifact files of trainings: what is too large for a database row."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.artifacts import (
    ArtifactMeta,
    FileSystemArtifactStore,
    download_artifact,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.artifacts.exceptions import ArtifactNotFound
from safetensors.torch import save_file
from torch import nn

from sfgsearch.config import Config
from sfgsearch.errors import ExportError
from sfgsearch.nn import plain_state
from sfgsearch.records import ArchitectureRecord
from sfgsearch.training import EpochReport, Trained

PROBABILITIES_FILE = "probabilities.safetensors"
WEIGHTS_FILE = "weights.safetensors"
HISTORY_FILE = "history.json"

_logger = logging.getLogger(__name__)


def artifact_folder(config: Config) -> Path:
    """Return the folder of a study's artifacts, which need not exist."""
    return config.folder / "artifacts"


class Shelf:
    """The artifacts of a trial or study; a file takes the place of one of the same name from an earlier attempt.

    Args:
        place: The running trial; for other trainings the study, since Optuna attaches nothing to trials that are over.
        folder: The artifact folder.
    """

    def __init__(self, place: optuna.Trial | optuna.Study, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._place, self._store = place, FileSystemArtifactStore(folder)
        self._there = {meta.filename: meta.artifact_id for meta in reversed(_artifacts_of(place))}

    def put(self, file: Path) -> str:
        """Attach a file, and return its artifact id."""
        if file.name not in self._there:
            self._there[file.name] = upload_artifact(
                artifact_store=self._store, file_path=str(file), study_or_trial=self._place
            )
        else:
            with file.open("rb") as content:
                self._store.write(self._there[file.name], content)
        return self._there[file.name]


def _artifacts_of(place: optuna.Trial | optuna.Study) -> list[ArtifactMeta]:
    """Return the artifacts of a study, or those that a trial had when it was begun here: nobody else adds any."""
    if isinstance(place, optuna.Study):
        return get_all_artifact_meta(place)
    attributes = place._cached_frozen_trial.system_attrs.items()
    return [ArtifactMeta(**json.loads(value)) for key, value in attributes if key.startswith(ARTIFACTS_ATTR_PREFIX)]


def upload_training(shelf: Shelf, trained: Trained) -> str | None:
    """Attach the per-filter probabilities and the history of a training to its trial.

    Args:
        shelf: That of the running trial.
        trained: What it trained.

    Returns:
        The artifact id of the probabilities: one tensor (K, T+1) per layer; None for methods without any.
    """
    upload_history(shelf, trained.history)
    probabilities = trained.system.probabilities()
    if not probabilities:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / PROBABILITIES_FILE
        save_file({name: probs.contiguous() for name, probs in probabilities.items()}, file)
        return shelf.put(file)


def upload_weights(shelf: Shelf, predictor: nn.Module, name: str = WEIGHTS_FILE) -> str | None:
    """Attach the weights of a network that predicts to its trial or study.

    A network that cannot be saved is worth a warning in the log, not the training that it came from.

    Args:
        shelf: That of the running trial, or of the study.
        predictor: The network; parameters and buffers are stored.
        name: The file's name in Optuna.

    Returns:
        The artifact id; None if the network cannot be saved.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / name
        try:
            save_file(plain_state(predictor), file)
        except Exception as error:  # whatever a network of someone else's has in its state
            _logger.warning("%s: the weights cannot be stored: %s: %s", name, type(error).__name__, error)
            return None
        return shelf.put(file)


@contextmanager
def stored_weights(record: ArchitectureRecord, folder: Path) -> Iterator[Path]:
    """Provide the weights of a recorded training as a file that goes away afterwards.

    Args:
        record: The record.
        folder: The artifact folder.

    Raises:
        ExportError: If no weights were kept, or they are gone.
    """
    what = f"trial {record.trial} ({record.name}, {record.role}, seed {record.seed})"
    if record.weights_artifact is None:
        raise ExportError(f"{what}: no weights were kept of this training; export another one, or train it again")
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / WEIGHTS_FILE
        try:
            download_artifact(
                artifact_store=FileSystemArtifactStore(folder),
                artifact_id=record.weights_artifact,
                file_path=str(file),
            )
        except ArtifactNotFound as error:
            raise ExportError(
                f"{what}: its weights {record.weights_artifact} are missing in {folder}; put the folder back that "
                "belongs to the database"
            ) from error
        yield file


def read_artifact(study: optuna.Study, number: int, name: str, folder: Path) -> bytes | None:
    """Return the content of a trial's artifact; None if it has none of that name, or the file is gone.

    Args:
        study: The study.
        number: The trial's number.
        name: The file's name in Optuna.
        folder: The artifact folder.
    """
    trial = next((trial for trial in study.get_trials(deepcopy=False) if trial.number == number), None)
    found = get_all_artifact_meta(trial, storage=study._storage) if trial else []
    ids = [meta.artifact_id for meta in found if meta.filename == name]
    try:
        with FileSystemArtifactStore(folder).open_reader(ids[0]) as content:
            return content.read()
    except (IndexError, ArtifactNotFound):
        return None


def upload_history(shelf: Shelf, history: list[EpochReport]) -> None:
    """Attach losses, metrics, mean probabilities and entropies per epoch, as JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / HISTORY_FILE
        file.write_text(json.dumps({"version": 1, "epochs": [report.to_dict() for report in history]}))
        shelf.put(file)
