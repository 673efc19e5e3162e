"""Artifact files of trainings: what is too large for a database row."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

import optuna
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from safetensors.torch import save
from torch import nn

from sfgsearch._faults import naming
from sfgsearch._optuna import artifact_ids, trial_id
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


class TrialArtifacts:
    """The artifacts of a trial; a file takes the place of one of the same name from an earlier attempt.

    Args:
        trial: The trial, still running: Optuna attaches nothing to trials that are over.
        folder: The artifact folder.
        tmpdir: A folder for files that are to be attached.
    """

    def __init__(self, trial: optuna.Trial, folder: Path, tmpdir: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tmpdir, self._trial, self._folder, self._store = tmpdir, trial, folder, FileSystemArtifactStore(folder)
        self._ids = artifact_ids(trial.storage.get_trial_system_attrs(trial_id(trial)))

    @classmethod
    @contextmanager
    def of(cls, trial: optuna.Trial, folder: Path) -> Iterator[Self]:
        """Provide the artifacts of a trial, with a temporary folder that goes away afterwards."""
        with tempfile.TemporaryDirectory() as tmpdir, naming(Path(tmpdir)):
            yield cls(trial, folder, Path(tmpdir))

    def upload(self, file: Path) -> str:
        """Attach a file, and return its artifact id."""
        with naming(self._folder):
            if file.name not in self._ids:
                self._ids[file.name] = upload_artifact(
                    artifact_store=self._store, file_path=str(file), study_or_trial=self._trial
                )
            else:
                with file.open("rb") as content:
                    self._store.write(self._ids[file.name], content)
        return self._ids[file.name]


def upload_training(artifacts: TrialArtifacts, trained: Trained) -> str | None:
    """Attach the per-filter probabilities and the history of a training to its trial.

    Args:
        artifacts: Those of the running trial.
        trained: What it trained.

    Returns:
        The artifact id of the probabilities: one tensor (K, T+1) per layer; None for methods without any.
    """
    upload_history(artifacts, trained.history)
    probabilities = trained.system.probabilities()
    if not probabilities:
        return None
    file = artifacts.tmpdir / PROBABILITIES_FILE
    file.write_bytes(save({name: probs.contiguous() for name, probs in probabilities.items()}))
    return artifacts.upload(file)


class StoredWeights(NamedTuple):
    """Weights that a record names.

    Args:
        artifact: The artifact id.
        digest: SHA-256 of the file.
    """

    artifact: str
    digest: str


def upload_weights(artifacts: TrialArtifacts, predictor: nn.Module) -> StoredWeights | None:
    """Attach the weights of a network that predicts to its trial.

    A network that cannot be saved is worth a warning in the log, not the training that it came from.

    Args:
        artifacts: Those of the running trial.
        predictor: The network; parameters and buffers are stored.

    Returns:
        Where they are; None if the network cannot be saved.
    """
    file = artifacts.tmpdir / WEIGHTS_FILE
    if not _save_weights(predictor, file, WEIGHTS_FILE):
        return None
    return StoredWeights(artifacts.upload(file), file_digest(file))


def store_weights(predictor: nn.Module, folder: Path, name: str) -> StoredWeights | None:
    """Store the weights of a network where only the record that names them finds them.

    That is for finalists, whose trials are over: attached to the study, dozens of them would crowd its page in
    optuna-dashboard.

    Args:
        predictor: The network; parameters and buffers are stored.
        folder: The artifact folder.
        name: What the warning calls it.

    Returns:
        Where they are, under a new artifact id; None if the network cannot be saved, which is worth a warning in the
        log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmpdir:
        file = Path(tmpdir) / WEIGHTS_FILE
        if not _save_weights(predictor, file, name):
            return None
        artifact = str(uuid.uuid4())
        with naming(folder), file.open("rb") as content:
            FileSystemArtifactStore(folder).write(artifact, content)
        return StoredWeights(artifact, file_digest(file))


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def remove_artifacts(artifacts: Iterable[str | None], folder: Path) -> None:
    """Remove files that nothing names any more, as far as they can be removed.

    Args:
        artifacts: Artifact ids.
        folder: The artifact folder.
    """
    store = FileSystemArtifactStore(folder)
    for artifact in artifacts:
        if artifact is not None:
            with suppress(ArtifactNotFound, OSError):  # a file too many is worth no training
                store.remove(artifact)


def _save_weights(predictor: nn.Module, file: Path, name: str) -> bool:
    """Write the weights of a network into a file; False, with a warning, if it cannot be saved."""
    try:
        content = save(plain_state(predictor))
    except Exception as error:  # whatever a network of someone else's has in its state
        _logger.warning("%s: the weights cannot be stored: %s: %s", name, type(error).__name__, error)
        return False
    with naming(file):
        file.write_bytes(content)
    return True


@contextmanager
def stored_weights(record: ArchitectureRecord, folder: Path) -> Iterator[Path]:
    """Provide the weights of a recorded training as a file that goes away afterwards.

    Args:
        record: The record.
        folder: The artifact folder.

    Raises:
        ExportError: If no weights were kept, or they are gone, unreadable, or not those that were recorded.
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
        except OSError as error:
            stored = folder / record.weights_artifact
            raise ExportError(f"{what}: its weights {stored} cannot be read: {error.strerror or error}") from error
        if record.weights_digest not in (None, file_digest(file)):
            raise ExportError(
                f"{what}: its weights {folder / record.weights_artifact} are not those that were recorded: the file "
                "was damaged or exchanged; put it back from a backup, or export another training"
            )
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
    try:
        artifact = artifact_ids(trial.system_attrs if trial else {})[name]
        with FileSystemArtifactStore(folder).open_reader(artifact) as content:
            return content.read()
    except (KeyError, ArtifactNotFound):
        return None


def upload_history(artifacts: TrialArtifacts, history: list[EpochReport]) -> None:
    """Attach losses, metrics, mean probabilities and entropies per epoch, as JSON."""
    file = artifacts.tmpdir / HISTORY_FILE
    file.write_text(json.dumps({"version": 1, "epochs": [report.to_dict() for report in history]}))
    artifacts.upload(file)
