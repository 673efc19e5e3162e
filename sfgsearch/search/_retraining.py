"""Retraining finalists from scratch, and testing them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.errors import LeaseLostError, StudyError
from sfgsearch.methods import FixedAllocation, Method, StochasticFilterGroups
from sfgsearch.nn import NetworkSpec, Structure
from sfgsearch.records import ArchitectureRecord, Lease, Records
from sfgsearch.search._artifacts import artifact_folder, remove_artifacts, store_weights
from sfgsearch.search._description import Training, describe_training, explain_failure
from sfgsearch.search._finalists import Finalist
from sfgsearch.search._matching import at_width
from sfgsearch.search._objective import PlainObjective
from sfgsearch.search._space import suggest_learned
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

    See :func:`sfgsearch.search._retraining.contender` for what is trained.

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


def contender(objective: PlainObjective, source: ArchitectureRecord, finalist: Finalist) -> tuple[Method, NetworkSpec]:
    """Return the method that a retraining trains, and the network that it is for.

    Learned and searched architectures are trained as the fixed allocations that they are, manual methods as such, or
    as the architecture that their trial found. What is compared at equal multiply-adds has the network's width scaled
    until what predicts costs what hard sharing does at the study's width, as nearly as channels allow.

    Args:
        objective: Knows the experiment and the manual methods.
        source: The record of the trial that is retrained.
        finalist: The retraining.
    """
    spec = objective.experiment.spec
    if finalist.role == "relearned":
        trial = optuna.trial.FixedTrial(dict(finalist.params))
        return StochasticFilterGroups(suggest_learned(trial, objective.config.learned)), spec
    method = _method(objective, source)
    if finalist.role == "finalist":
        return method, spec
    method_at: Callable[[NetworkSpec], Method] = partial(method.rescaled, spec)
    if finalist.role != "matched":
        layers = len(source.allocation.layers)
        order = _reversed(layers) if finalist.role == "reversed" else _shuffled(layers, finalist.seed)
        method_at = partial(_in_order, source.allocation, order)
    macs = source.macs if finalist.role == "matched" else None
    # A shuffled one has another order with every seed.
    key = finalist.role, finalist.trial, finalist.seed if finalist.role == "shuffled" else None
    wanted = at_width(spec, objective.widths.find(key, method_at, macs))
    return method_at(wanted), wanted


def _method(objective: PlainObjective, source: ArchitectureRecord) -> Method:
    if source.kind == "manual":
        return objective.manual[source.name].retraining(Structure.from_dict(source.structure))
    return FixedAllocation(source.allocation, assignments=source.structure["assignments"])


def _reversed(layers: int) -> list[int]:
    return list(range(layers))[::-1]


def _shuffled(layers: int, seed: int) -> list[int]:
    """Return a random order of at least three layers, neither that of depth nor its reverse."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(layers, generator=generator).tolist()
        if order not in (sorted(order), _reversed(layers)):
            return order


def _in_order(allocation: Allocation, order: Sequence[int], spec: NetworkSpec) -> FixedAllocation:
    """Return the allocation in which the n-th layer has the shares of another one, the n-th in an order."""
    shares = [[count / layer.num_filters for count in layer.counts] for layer in allocation.layers]
    proportions = {name: shares[index] for name, index in zip(spec.filters, order, strict=True)}
    chosen = Allocation.from_proportions(spec.filters, spec.task_names, proportions, feed_tasks=True)
    return FixedAllocation(chosen, repair=True)
