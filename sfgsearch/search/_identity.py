"""Whether a study goes on with the data, the network, the code and the records that it was begun with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

import optuna
from optuna.trial import TrialState

from sfgsearch.config import Config
from sfgsearch.config._imports import import_digests, imported
from sfgsearch.data import DataIdentity, describe_change
from sfgsearch.data._identity import text_digest
from sfgsearch.errors import StudyError
from sfgsearch.records import Records
from sfgsearch.search._attributes import ALLOCATION

if TYPE_CHECKING:
    from torch import nn

    from sfgsearch.nn import NetworkSpec
    from sfgsearch.training import Experiment

IDENTITY = "sfgsearch.identity"
"""Study attribute: the data that a study saw and the parameters of its network, as JSON."""

IMPORTS = "sfgsearch.imports"
"""Study attribute: digests of the code that the study file imports, as JSON."""


@dataclass(frozen=True)
class NetworkSignature:
    """Signature that tells a network from one of other code: the parameters of the plain network.

    Args:
        parameters: How many numbers they are.
        digest: Of their names and shapes.
        macs: Multiply-adds of the plain network for one image, which is what hard sharing costs.
        weights: Digest of the weights that the backbone starts from; empty if they are drawn.
    """

    parameters: int
    digest: str
    macs: int = field(compare=False)
    weights: str = ""

    @classmethod
    def of(cls, spec: NetworkSpec) -> Self:
        """Take the signature of a network."""
        from sfgsearch.nn import complexity  # needs torch, which commands that only read a study do without

        network = spec.build()
        shapes = {name: list(parameter.shape) for name, parameter in network.named_parameters()}
        macs = complexity(network, spec.image_shape).macs
        number = sum(parameter.numel() for parameter in network.parameters())
        weights = _digest(network.backbone) if spec.is_pretrained else ""
        return cls(number, text_digest(json.dumps(shapes)), macs, weights)


def _digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and statistics."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class StudyIdentity:
    """Data and network that must stay the same while a study runs, as its settings must.

    Args:
        data: Which data it sees.
        network: Which network it trains.
    """

    data: DataIdentity
    network: NetworkSignature

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Take the identity of an experiment."""
        return cls(experiment.data.identity, NetworkSignature.of(experiment.spec))

    def to_json(self) -> str:
        """Return JSON that :meth:`from_json` reads."""
        return json.dumps({"data": self.data.to_dict(), "network": asdict(self.network)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` returned."""
        read = json.loads(text)
        return cls(DataIdentity.from_dict(read["data"]), NetworkSignature(**read["network"]))


def identity_of(study: optuna.Study) -> StudyIdentity | None:
    """Return which data and network a study saw; None if it has not begun."""
    stored = study.user_attrs.get(IDENTITY)
    return None if stored is None else StudyIdentity.from_json(stored)


def data_of(study: optuna.Study) -> DataIdentity | None:
    """Return which data a study saw; None if it has not begun."""
    identity = identity_of(study)
    return identity.data if identity else None


def check_identity(study: optuna.Study, config: Config, identity: StudyIdentity) -> None:
    """Remember the data and the network of a new study; refuse to continue one with others.

    Raises:
        StudyError: If they are others; it says what differs.
    """
    stored = study.user_attrs.get(IDENTITY)
    if stored is None:
        study.set_user_attr(IDENTITY, identity.to_json())
        return
    then, now = StudyIdentity.from_json(stored), identity
    since, remedy = f"since the study {study.study_name!r} was created", "or give study.name a new name"
    change = describe_change(then.data, now.data)
    if change is not None:
        raise StudyError(f"{config.path}: the data changed {since}: {change}; set them back, {remedy}")
    if then.network != now.network:
        change = f"{now.network.parameters} parameters instead of {then.network.parameters}"
        if now.network.parameters == then.network.parameters:
            same_shapes = now.network.digest == then.network.digest
            change = "other starting weights" if same_shapes else "parameters of other names or shapes"
        raise StudyError(
            f"{config.path}: the network changed {since}: it has {change}; set the code of the backbone "
            f"{config.backbone.name!r} and of the tasks back, {remedy}"
        )


def note_imports(study: optuna.Study, config: Config, note: Callable[[str], None]) -> None:
    """Remember the code that a study file imports, and note what changed since the study was last continued.

    Args:
        study: The study.
        config: The study file.
        note: Takes the sentence.
    """
    now, stored = import_digests(imported(config), config.path), study.user_attrs.get(IMPORTS)
    then = json.loads(stored) if stored else {}
    changed = [entry for entry, digest in now.items() if then.get(entry, digest) != digest]
    if changed:
        note(
            f"{config.path}: {', '.join(changed)} changed since the study was last continued; what was "
            "trained before ran other code"
        )
    if then != now:
        study.set_user_attr(IMPORTS, json.dumps(now))


def check_recorded(study: optuna.Study, config: Config, records: Records | None) -> None:
    """Check that what was trained is recorded: Optuna copies studies without the records.

    Args:
        study: The study.
        config: Its study file.
        records: Its records; None if it is in no database.

    Raises:
        StudyError: If records of its trials are missing.
    """
    if records is None:
        return
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trained = {trial.number for trial in trials if ALLOCATION in trial.system_attrs}
    lost = len(trained - records.trials()) if trained else 0
    if lost:
        raise StudyError(
            f"{config.path}: {lost} of the {len(trained)} complete trials of the study {study.study_name!r} have no "
            "record in the database, as after optuna.copy_study; bring the records from where the study was trained, "
            f"in Python: sfgsearch.search.copy_study(SOURCE_URL, TARGET_URL, {study.study_name!r})"
        )
