"""The description of a single trial."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

from sfgsearch.records import ArchitectureRecord
from sfgsearch.search._attributes import repairs_of, sources_of


def describe_trial(trial: FrozenTrial, record: ArchitectureRecord) -> dict[str, Any]:
    """Return the object that ``sfgsearch show --json`` prints.

    Args:
        trial: The trial.
        record: What it trained.
    """
    return {
        "trial": trial.number,
        "kind": record.kind,
        "name": record.name,
        "params": trial.params,
        "starts_from": sources_of(trial),
        "tasks": record.tasks,
        "allocation": record.allocation.to_dict(),
        "metrics": record.metrics["validation"],
        "relative_error": record.scores["validation"],
        "monte_carlo": _monte_carlo(record),
        "seed": record.seed,
        "epochs": record.epochs,
        "backbone": record.backbone,
        "parameters": record.parameters,
        "macs": record.macs,
        "training_seconds": record.training_seconds,
        "package_version": record.package_version,
        "repairs": repairs_of(trial),
    }


def _monte_carlo(record: ArchitectureRecord) -> dict[str, Any] | None:
    sampled = record.monte_carlo
    if sampled is None:
        return None
    return {
        "samples": sampled.samples,
        "metrics": sampled.metrics["validation"],
        "relative_error": sampled.scores["validation"],
        "macs": sampled.macs,
    }
