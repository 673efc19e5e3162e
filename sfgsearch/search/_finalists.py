"""Finalists: the best of every kind, retrained from scratch over several seeds and tested once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import ComparisonSection, Config
from sfgsearch.errors import LeaseLostError, StudyError
from sfgsearch.methods import FixedAllocation, Method, StochasticFilterGroups
from sfgsearch.nn import Structure
from sfgsearch.records import STRATEGIES, ArchitectureRecord, Job, Records, strategy_of
from sfgsearch.records._store import Kind, Role
from sfgsearch.search._artifacts import artifact_folder, remove_artifacts, store_weights
from sfgsearch.search._failures import explain_failure
from sfgsearch.search._objective import Objective, describe_training
from sfgsearch.search._space import suggest_learned
from sfgsearch.search._study import records_of, seed_of
from sfgsearch.storage import outlast
from sfgsearch.training import EpochReport, TrainingSession

_ROLES: tuple[Role, ...] = ("finalist", "relearned")


@dataclass(frozen=True)
class Finalist:
    """One retraining that a comparison needs.

    Args:
        trial: The trial whose architecture is retrained.
        kind: Its kind.
        name: Its name.
        seed: The seed of the retraining.
        role: ``"finalist"``: its allocation is retrained from scratch; ``"relearned"``: it is learned again.
        params: Parameters of the trial.
    """

    trial: int
    kind: Kind
    name: str
    seed: int
    role: Role = "finalist"
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def job(self) -> str:
        """Its key among the study's jobs; see :class:`sfgsearch.records.Job`."""
        return f"{self.role}/{self.trial}/{self.seed}"


def select_finalists(trials: Sequence[ArchitectureRecord], section: ComparisonSection) -> list[ArchitectureRecord]:
    """Return the best trials of every strategy by their relative error on the validation split.

    Args:
        trials: Records of trials.
        section: How many of each.
    """
    chosen: list[ArchitectureRecord] = []
    for strategy in STRATEGIES:
        wanted = getattr(section, strategy)
        own = (record for record in trials if strategy_of(record.kind, record.name) == strategy)
        best_first = sorted(own, key=lambda record: record.scores["validation"])
        by_name: dict[str, ArchitectureRecord] = {}
        for record in best_first:
            by_name.setdefault(record.name, record)
        chosen += list(by_name.values())[: None if wanted == "all" else int(wanted)]
    return chosen


@dataclass(frozen=True)
class Finals:
    """The final comparison of a study, as its file asks for it now.

    Args:
        current: The recorded retrainings that belong to it.
        missing: Those that it still lacks.
    """

    current: list[ArchitectureRecord]
    missing: list[Finalist]


def read_finals(study: optuna.Study, config: Config) -> Finals:
    """Read how far the final comparison of a study is.

    Seeds are the study's seed + 1 and up: the study's own seed is the one that selection favoured.
    """
    records, trials = records_of(study), study.get_trials(deepcopy=False)
    recorded = records.all() if records else []
    selected = select_finalists(_candidates(recorded, trials, config), config.comparison)
    wanted = _wanted(selected, trials, config, finalist_seeds(config.comparison, seed_of(study, config)))
    places = {_place(finalist) for finalist in wanted}
    current = [record for role in _ROLES for record in recorded if record.role == role and _place(record) in places]
    done = {_place(record) for record in current}
    return Finals(current, [finalist for finalist in wanted if _place(finalist) not in done])


def current_finalists(study: optuna.Study, config: Config) -> list[ArchitectureRecord]:
    """Return the recorded retrainings that belong to the comparison as the file asks for it now."""
    return read_finals(study, config).current


def missing_finalists(study: optuna.Study, config: Config) -> list[Finalist]:
    """Return the retrainings that a comparison still lacks."""
    return read_finals(study, config).missing


def is_given_up(job: Job | None, retries: int) -> bool:
    """Tell whether the job of a retraining has failed once too often.

    Args:
        job: The job; None if nobody has taken it yet.
        retries: How often what failed is tried again.
    """
    return job is not None and job.failures > retries


def _candidates(
    records: Iterable[ArchitectureRecord], trials: Iterable[FrozenTrial], config: Config
) -> list[ArchitectureRecord]:
    """Return the records among which finalists are selected.

    These are the trials that Optuna holds for complete, and among manual ones those that the file still lists.
    """
    complete = {trial.number for trial in trials if trial.state is TrialState.COMPLETE}
    return [
        record
        for record in records
        if record.role == "trial"
        and record.trial in complete
        and (record.kind != "manual" or record.name in config.manual.names)
    ]


def _place(finalist: Finalist | ArchitectureRecord) -> tuple[str, int, int]:
    return finalist.role, finalist.trial, finalist.seed


def _wanted(
    selected: Iterable[ArchitectureRecord], trials: Iterable[FrozenTrial], config: Config, seeds: Iterable[int]
) -> list[Finalist]:
    """Return all retrainings that the comparison asks for."""
    params = {trial.number: trial.params for trial in trials}
    wanted = []
    for record in selected:
        roles: tuple[Role, ...] = ("finalist",)
        if record.kind == "learned" and config.comparison.as_learned:
            roles = _ROLES
        wanted += [
            Finalist(record.trial, record.kind, record.name, seed, role, params[record.trial])
            for role in roles
            for seed in seeds
        ]
    return wanted


def finalist_seeds(section: ComparisonSection, study_seed: int) -> range:
    """Return the seeds of the final comparison."""
    return range(study_seed + 1, study_seed + 1 + section.seeds)


def retrain_finalists(
    objective: Objective,
    records: Records,
    finalists: Sequence[Finalist],
    on_epoch: Callable[[Finalist, EpochReport], None] | None = None,
    on_failure: Callable[[Finalist, str], None] | None = None,
    *,
    study: optuna.Study | None = None,
) -> None:
    """Retrain finalists from scratch, read the test data, and record them one by one.

    Learned and searched architectures are trained as the fixed allocations that they are, manual methods as such, or
    as the architecture that their trial found.
    Learned ones may in addition be learned again, with the settings of their trial.

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
    objective: Objective,
    records: Records,
    finalist: Finalist,
    *,
    study: optuna.Study | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    session: TrainingSession | None = None,
    held: tuple[str, str] | None = None,
) -> None:
    """Retrain one finalist, read the test data, and record it.

    Args:
        objective: Knows the experiment and the manual methods.
        records: Where it is recorded.
        finalist: What to train.
        study: The study, whose folder keeps its weights; without it no weights are kept.
        on_epoch: Called after every epoch.
        session: Gives and takes checkpoints, and may end the training.
        held: The job and its owner, without whom nothing is recorded.

    Raises:
        StudyError: If the trial that it retrains saw other data.
        TrainingInterrupted: If the session ends the training, or the job belongs to another worker by now.
    """
    (source,) = records.all("trial", finalist.trial)
    if source.data_digest != objective.experiment.data.identity.digest:
        raise StudyError(
            f"trial {source.trial} ({source.name}) was trained on other data than those here; set the data back before "
            "it is retrained"
        )
    trained = objective.experiment.train(
        _method(objective, source, finalist),
        finalist.seed,
        on_epoch=on_epoch,
        splits=("validation", "test"),
        session=session,
        monte_carlo=finalist.role == "relearned",
    )
    folder = artifact_folder(objective.config)
    weights = store_weights(trained.predictor, folder, finalist.job) if study else None
    record = describe_training(
        objective, finalist.trial, finalist.role, finalist.kind, finalist.name, trained, weights=weights
    )
    _record(records, record, held, folder)


def _record(
    records: Records,
    record: ArchitectureRecord,
    held: tuple[str, str] | None,
    folder: Path,
) -> None:
    """Record a finalist in the place of its earlier training, and remove the weights that no record names then."""
    kept = {record.weights_artifact, *_recorded_weights(records, record)}
    try:
        outlast(lambda: records.add(record, held))
    except LeaseLostError:
        remove_artifacts(kept.difference(_recorded_weights(records, record)), folder)
        raise
    remove_artifacts(kept.difference(_recorded_weights(records, record)), folder)


def _recorded_weights(records: Records, record: ArchitectureRecord) -> list[str | None]:
    recorded = outlast(lambda: records.all(record.role, record.trial))
    return [other.weights_artifact for other in recorded if other.seed == record.seed]


def _method(objective: Objective, record: ArchitectureRecord, finalist: Finalist) -> Method:
    if record.kind == "manual":
        return objective.manual[record.name].retraining(Structure.from_dict(record.structure))
    if finalist.role == "relearned":
        trial = optuna.trial.FixedTrial(dict(finalist.params))
        return StochasticFilterGroups(suggest_learned(trial, objective.config.learned))
    return FixedAllocation(record.allocation, assignments=record.structure["assignments"])
