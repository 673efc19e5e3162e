"""Finalists: the best of every kind, which a comparison retrains over several seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import ComparisonSection, Config
from sfgsearch.records import STRATEGIES, ArchitectureRecord, Job, costs_alike, strategy_of
from sfgsearch.records._store import Kind, Role
from sfgsearch.search._identity import StudyIdentity, identity_of
from sfgsearch.search._study import records_of, seed_of

_ROLES: tuple[Role, ...] = ("matched", "finalist", "reversed", "shuffled", "relearned")
_LABELS = {
    "matched": " at equal multiply-adds",
    "reversed": " reversed",
    "shuffled": " shuffled",
    "relearned": " learned again",
}


@dataclass(frozen=True)
class Finalist:
    """One retraining that a comparison needs.

    Args:
        trial: The trial whose architecture is retrained.
        kind: Its kind.
        name: Its name.
        seed: The seed of the retraining.
        data_seed: The seed that divides its data.
        role: What is trained; see :class:`sfgsearch.records.ArchitectureRecord`.
        params: Parameters of the trial.
    """

    trial: int
    kind: Kind
    name: str
    seed: int
    data_seed: int
    role: Role = "finalist"
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def job(self) -> str:
        """Its key among the study's jobs; see :class:`sfgsearch.records.Job`."""
        return f"{self.role}/{self.trial}/{self.seed}"

    def __str__(self) -> str:
        return f"{self.name}{_LABELS.get(self.role, '')}, seed {self.seed}"

    def is_in(self, records: Iterable[ArchitectureRecord]) -> bool:
        """Return whether it is among records."""
        return _place(self) in map(_place, records)


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
    identity = identity_of(study)
    seeds, macs = _seeds(study, config, identity), identity.network.macs if identity else None
    wanted = _wanted(selected, trials, config, seeds, macs)
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
    """Return whether the job of a retraining has failed once too often.

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


def _place(finalist: Finalist | ArchitectureRecord) -> tuple[str, int, int, int | None]:
    return finalist.role, finalist.trial, finalist.seed, finalist.data_seed


def _wanted(
    selected: Iterable[ArchitectureRecord],
    trials: Iterable[FrozenTrial],
    config: Config,
    seeds: Iterable[tuple[int, int]],
    macs: int | None,
) -> list[Finalist]:
    """Return all retrainings that the comparison asks for, seed by seed: a worker then loads data anew for each once.

    Args:
        selected: The candidates.
        trials: All trials.
        config: The study file.
        seeds: Seeds of retrainings, each with the one that divides its data.
        macs: Multiply-adds of hard sharing; None before the study has begun.
    """
    params = {trial.number: trial.params for trial in trials}
    return [
        Finalist(record.trial, record.kind, record.name, seed, data_seed, role, params[record.trial])
        for seed, data_seed in seeds
        for record in selected
        for role in _roles(record, config.comparison, macs)
    ]


def _roles(record: ArchitectureRecord, section: ComparisonSection, macs: int | None) -> Iterator[Role]:
    """Yield what is trained of a candidate with every seed."""
    if section.match == "macs" and macs and not costs_alike(record.macs, macs):
        yield "matched"
    yield "finalist"  # which serves both where it costs what hard sharing does
    if record.kind != "learned":
        return
    layers = len(record.allocation.layers)
    if section.controls and layers > 1:
        yield "reversed"
    if section.controls and layers > 2:  # of two there is no other order
        yield "shuffled"
    if section.as_learned:
        yield "relearned"


def _seeds(study: optuna.Study, config: Config, identity: StudyIdentity | None) -> list[tuple[int, int]]:
    """Return the seeds of the final comparison, each with the one that divides its data."""
    own = seed_of(study, config)
    divides_anew = config.comparison.splits == "per_seed" and not (identity and identity.data.is_fixed)
    return [(seed, seed if divides_anew else own) for seed in finalist_seeds(config.comparison, own)]


def finalist_seeds(section: ComparisonSection, study_seed: int) -> range:
    """Return the seeds of the final comparison."""
    return range(study_seed + 1, study_seed + 1 + section.seeds)
