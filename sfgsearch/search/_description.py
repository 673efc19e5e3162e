"""Records of trainings, and the reasons of those that failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NamedTuple

from torch import nn

from sfgsearch._faults import explain_os_error, first_line, is_out_of_memory
from sfgsearch.backbones import Trunk
from sfgsearch.config import Config
from sfgsearch.errors import SFGSearchError
from sfgsearch.nn import NetworkSpec
from sfgsearch.records import ArchitectureRecord, MonteCarloRecord
from sfgsearch.records._store import Kind, Role
from sfgsearch.search._artifacts import StoredWeights
from sfgsearch.tasks import Task, task_to_dict
from sfgsearch.training import UNCERTAINTY, Experiment, MonteCarlo, Trained


class Training(NamedTuple):
    """The place of a training in its study; see :class:`sfgsearch.records.ArchitectureRecord`."""

    trial: int
    role: Role
    kind: Kind
    name: str
    data_seed: int


def describe_training(
    config: Config,
    experiment: Experiment,
    training: Training,
    trained: Trained,
    artifact: str | None = None,
    weights: StoredWeights | None = None,
) -> ArchitectureRecord:
    """Return the record of a training.

    Args:
        config: The study file.
        experiment: What it was trained under.
        training: What it is of.
        trained: What it left behind.
        artifact: The artifact id of its probabilities.
        weights: Where its weights are.
    """
    return ArchitectureRecord(
        **training._asdict(),
        backbone=_describe_backbone(config, experiment.spec, trained.system.network),
        image_shape=experiment.spec.image_shape,
        tasks=[task_to_dict(task) for task in trained.tasks],
        structure=trained.system.structure().to_dict(),
        allocation=trained.system.allocation(),
        seed=trained.seed,
        epochs=len(trained.history),
        parameters=trained.complexity.parameters,
        macs=trained.complexity.macs,
        metrics=trained.metrics,
        units=units_of(trained.tasks),
        scores=trained.scores,
        training_seconds=trained.seconds,
        probabilities_artifact=artifact,
        weights_artifact=weights.artifact if weights else None,
        weights_digest=weights.digest if weights else None,
        data_digest=experiment.data.identity.digest,
        monte_carlo=_monte_carlo_record(trained.monte_carlo),
    )


def _describe_backbone(config: Config, spec: NetworkSpec, network: nn.Module) -> dict[str, Any]:
    """Return what rebuilds the backbone without its starting weights: how these have images normalised, for one."""
    options = getattr(spec.backbone, "keywords", {})
    settings = config.backbone.settings
    trunk = next((module for module in network.modules() if isinstance(module, Trunk)), None)
    if trunk:
        settings["input_norm"] = "none" if trunk.normalisation is None else list(map(list, trunk.normalisation))
    return {"name": config.backbone.name, **settings, **options}


def units_of(tasks: Iterable[Task]) -> dict[str, str]:
    """Return the unit of every metric by ``"<task>/<metric>"``."""
    units = {task.name: {**task.units, UNCERTAINTY: task.uncertainty_unit} for task in tasks}
    return {f"{task}/{metric}": unit for task, metrics in units.items() for metric, unit in metrics.items()}


def _monte_carlo_record(monte_carlo: MonteCarlo | None) -> MonteCarloRecord | None:
    if monte_carlo is None:
        return None
    return MonteCarloRecord(**{field.name: getattr(monte_carlo, field.name) for field in fields(MonteCarlo)})


_LONGEST = 500


def explain_failure(error: Exception, experiment: Experiment) -> str:
    """Return the reason why a training failed, short enough for an attribute of its trial.

    Args:
        error: What ended it.
        experiment: What was trained under; memory that ran out is a matter of its batch size.
    """
    if isinstance(error, SFGSearchError):
        reason = str(error)
    elif is_out_of_memory(error):
        batch = experiment.settings.batch_size
        reason = (
            f"out of memory on {experiment.device} with batch size {batch}; lower training.batch_size "
            f"({first_line(error)})"
        )
    elif isinstance(error, OSError):
        reason = explain_os_error(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    return reason[:_LONGEST]
