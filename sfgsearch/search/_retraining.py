"""Retraining finalists from scratch, and testing them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna

from sfgsearch.errors import LeaseLostError, StudyError
from sfgsearch.records import ArchitectureRecord, Lease, Records
from sfgsearch.search._artifacts import artifact_folder, remove_artifacts, store_weights
from sfgsearch.search._contenders import contender
from sfgsearch.search._description import Training, describe_training
from sfgsearch.search._failures import explain_failure
from sfgsearch.search._finalists import Finalist
from sfgsearch.search._objective import PlainObjective
from sfgsearch.storage import retry_on_outage
from sfgsearch.training import EpochReport, TrainingSession


def retrain_finalists(
    objective: PlainObjective,
    records: Records,
    finalists: Sequence[Finalist],
    on_epoch: Callable[[Finalist, EpochReport], None] | None = None,
    on_failure: Callable[[Finalist, str], None] | None = None,
    *,
    study: optuna.Study | None = None,
) -> None:
    """Retrain finalists from scratch, read the test data, and record them one by one.

    See :func:`sfgsearch.search._contenders.contender` for what is trained.

    Args:
        objective: Knows the experiment and the manual methods.
        records: Where finalists are recorded.
        finalists: What to train.
        on_epoch: Called after every epoch.
        on_failure: Called with the reason when a retraining fails, and the others go on; without it it is raised.
        study: The study, whose folder keeps their weights; without it no weights are kept.
    """
    for finalist in finalists:
        try:
            retrain(objective, records, finalist, study=study, on_epoch=on_epoch and partial(on_epoch, finalist))
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(finalist, explain_failure(error, objective.experiment))


def retrain(
    objective: PlainObjective,
    records: Records,
    finalist: Finalist,
    *,
    study: optuna.Study | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    session: TrainingSession | None = None,
    lease: Lease | None = None,
) -> None:
    """Retrain one finalist, read the test data, and record it.

    Args:
        objective: Knows the experiment and the manual methods.
        records: Where it is recorded.
        finalist: What to train.
        study: The study, whose folder keeps its weights; without it no weights are kept.
        on_epoch: Called after every epoch.
        session: Gives and takes checkpoints, and may end the training.
        lease: The right to train it, without which nothing is recorded.

    Raises:
        ConfigError: If the data, as its seed divides them, lack what training or measuring needs.
        StudyError: If the trial that it retrains saw other data than the study's.
        TrainingInterrupted: If the session ends the training, or the job belongs to another worker by now.
    """
    (source,) = records.all("trial", finalist.trial)
    if source.data_digest != objective.experiment.data.identity.digest:
        raise StudyError(
            f"trial {source.trial} ({source.name}) was trained on other data than those here; set the data back before "
            "it is retrained"
        )
    method, spec = contender(objective, source, finalist)
    experiment = replace(objective.experiment_on(finalist.data_seed), spec=spec)
    trained = experiment.train(
        method,
        finalist.seed,
        on_epoch=on_epoch,
        splits=("validation", "test"),
        session=session,
        monte_carlo=finalist.role == "relearned",
    )
    folder = artifact_folder(objective.config)
    weights = store_weights(trained.predictor, folder, finalist.job) if study else None
    of = Training(finalist.trial, finalist.role, finalist.kind, finalist.name, finalist.data_seed)
    record = describe_training(objective.config, experiment, of, trained, weights=weights)
    _record(records, record, lease, folder)


def _record(
    records: Records,
    record: ArchitectureRecord,
    lease: Lease | None,
    folder: Path,
) -> None:
    """Record a finalist in the place of its earlier training, and remove the weights that no record names then."""
    kept = {record.weights_artifact, *_recorded_weights(records, record)}
    try:
        retry_on_outage(lambda: records.add(record, lease))
    except LeaseLostError:
        remove_artifacts(kept.difference(_recorded_weights(records, record)), folder)
        raise
    remove_artifacts(kept.difference(_recorded_weights(records, record)), folder)


def _recorded_weights(records: Records, record: ArchitectureRecord) -> list[str | None]:
    recorded = retry_on_outage(lambda: records.all(record.role, record.trial))
    return [other.weights_artifact for other in recorded if other.seed == record.seed]
