"""One trial as figures show it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors

from sfgsearch._stages import layers_below, selected
from sfgsearch.allocation import Allocation
from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.records import ArchitectureRecord
from sfgsearch.tasks import task_from_dict
from sfgsearch.training import EpochReport

Probabilities = Mapping[str, NDArray[np.floating[Any]]]
"""Group probabilities (K, T+1) of all filters, by layer in depth order."""


@dataclass(frozen=True)
class TrialReview:
    """One trial as figures show it.

    Args:
        number: Its number.
        name: What it is called.
        tasks: The tasks, in order.
        allocation: Its allocation; None if it did not come to its end.
        history: One report per epoch.
        probabilities: Group probabilities (K, T+1) by layer, tasks in order, then shared; empty without any.
        units: Units by ``"<task>/<metric>"``.
        headline: The metrics ``"<task>/<metric>"`` that figures show; all of them if empty.
    """

    number: int
    name: str
    tasks: tuple[str, ...]
    allocation: Allocation | None = None
    history: Sequence[EpochReport] = ()
    probabilities: Probabilities = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    headline: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The beginning of the titles of its figures."""
        return f"Trial {self.number}" if self.name == f"trial {self.number}" else f"Trial {self.number}, {self.name}"

    def part(self, path: str) -> TrialReview:
        """Return the same trial with the layers of one module alone, such as ``"layer3"``, for figures in detail.

        Raises:
            StudyError: If there is none.
        """
        known = self.allocation or self.probabilities or (self.history[-1].mean_probs if self.history else {})
        names = [layer.name for layer in known.layers] if isinstance(known, Allocation) else list(known)
        chosen = dict.fromkeys(layers_below(names, path))
        return replace(
            self,
            allocation=self.allocation and selected(self.allocation, chosen),
            probabilities={name: self.probabilities[name] for name in chosen if name in self.probabilities},
            history=[
                replace(
                    report, mean_probs={name: report.mean_probs[name] for name in chosen if name in report.mean_probs}
                )
                for report in self.history
            ],
        )

    @classmethod
    def load(cls, study: Config | optuna.Study, number: int, *, artifacts: Path | None = None) -> TrialReview:
        """Read a trial that came to its end: its record and its artifacts.

        Args:
            study: The configuration of a study, or an open study.
            number: The trial's number.
            artifacts: The folder of the study's artifacts, which a configuration names and an open study does not.

        Raises:
            StudyError: If the study or a record of the trial does not exist, or the folder is not given.
        """
        from sfgsearch.search import load_study, records_of
        from sfgsearch.search._artifacts import HISTORY_FILE, PROBABILITIES_FILE, artifact_folder, read_artifact

        if isinstance(study, Config):
            artifacts = artifacts or artifact_folder(study)
            study = load_study(study)
        if artifacts is None:
            raise StudyError("an open study does not tell where its artifacts are; give their folder as artifacts")
        records = records_of(study)
        found = records.all("trial", number) if records else []
        if not found:
            raise StudyError(
                f"study {study.study_name!r} has no record of a trial {number}: it has not come to its end, or the "
                "study is not in a database"
            )
        history, probabilities = (
            read_artifact(study, number, name, artifacts) for name in (HISTORY_FILE, PROBABILITIES_FILE)
        )
        return cls.of_record(
            found[-1],
            read_history(json.loads(history)) if history else (),
            load_tensors(probabilities) if probabilities else {},
        )

    @classmethod
    def of_record(
        cls, record: ArchitectureRecord, history: Sequence[EpochReport] = (), probabilities: Probabilities | None = None
    ) -> TrialReview:
        """Return the review of a recorded training.

        Args:
            record: The record.
            history: One report per epoch.
            probabilities: Group probabilities (K, T+1) by layer, in any order.
        """
        tasks = [task_from_dict(task) for task in record.tasks]
        given = probabilities or {}
        return cls(
            number=record.trial,
            name=record.name,
            tasks=tuple(task.name for task in tasks),
            allocation=record.allocation,
            history=history,
            probabilities={layer.name: given[layer.name] for layer in record.allocation.layers if layer.name in given},
            units=record.units,
            headline=tuple(f"{task.name}/{metric}" for task in tasks for metric in task.headline),
        )


def read_history(data: Mapping[str, Any]) -> list[EpochReport]:
    """Return the reports that a stored ``history.json`` holds."""
    return [EpochReport(**epoch) for epoch in data["epochs"]]
