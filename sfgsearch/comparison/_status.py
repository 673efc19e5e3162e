"""How far a study is: quotas, running jobs, failures, and the time that is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import mean
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from sfgsearch.config import Config
from sfgsearch.records import STRATEGIES, Job, strategy_of
from sfgsearch.search._attributes import strategy_of_trial
from sfgsearch.search._outstanding import outstanding_trials


class Retraining(Protocol):
    """A finalist, with a text that says what is trained; see :class:`sfgsearch.search._finalists.Finalist`."""

    @property
    def job(self) -> str:
        """Its key."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def name(self) -> str:
        """Its name."""


@dataclass(frozen=True)
class KindStatus:
    """The trials of one kind.

    Args:
        kind: The kind.
        quota: How many the study asks for.
        complete: Trained to the end.
        pruned: Ended early, on purpose.
        running: In training.
        waiting: Not begun, or interrupted.
        failed: Failed and not tried again.
    """

    kind: str
    quota: int
    complete: int = 0
    pruned: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def unfinished(self) -> int:
        """Trials that are still to be trained."""
        return self.running + self.waiting


@dataclass(frozen=True)
class RunningJob:
    """A training that some worker does.

    Args:
        job: Its key.
        name: What is trained.
        worker: Who trains it; a question mark for trials that nobody took through a worker.
        seconds: Since that worker began.
        silent: Seconds since its last sign of life, where there is a worker.
        epoch: Epochs that are finished.
        epochs: Of so many.
        resumed: How often it changed hands.
    """

    job: str
    name: str
    worker: str
    seconds: float
    silent: float | None
    epoch: int
    epochs: int
    resumed: int


@dataclass(frozen=True)
class Failure:
    """A training that failed.

    Args:
        job: Its key.
        name: What was trained.
        reason: Why it failed.
        retried: Whether it is tried again.
    """

    job: str
    name: str
    reason: str
    retried: bool


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Args:
        study: Its name.
        kinds: Its trials by kind.
        finalists: Retrainings of the comparison: how many are recorded, and how many it asks for once trials are over.
        running: What is in training.
        failures: What failed, the last attempt of each.
        seconds_left: An estimate from trainings that are over and the workers that are at work; None without either.
    """

    study: str
    kinds: tuple[KindStatus, ...]
    finalists: tuple[int, int]
    running: tuple[RunningJob, ...]
    failures: tuple[Failure, ...]
    seconds_left: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "finalists": {"recorded": self.finalists[0], "wanted": self.finalists[1]}}


def study_status(
    config: Config,
    trials: Sequence[FrozenTrial],
    jobs: Mapping[str, Job],
    recorded: int,
    missing: Sequence[Retraining],
    given_up: Container[str] = (),
    now: datetime | None = None,
) -> StudyStatus:
    """Describe how far a study is.

    Args:
        config: The study file.
        trials: All its trials.
        jobs: Its jobs by key.
        recorded: How many finalists are recorded.
        missing: The finalists that are not, as trials stand now.
        given_up: The jobs of trials and finalists that failed for good.
        now: The present time (UTC), by the clock if None.
    """
    now = now or datetime.now(UTC)
    epochs = config.training.epochs
    kinds = _count_kinds(trials, config, given_up)
    running = [
        _running_job(_job(trial), _name(trial), jobs, trial.datetime_start, now, epochs)
        for trial in trials
        if trial.state is TrialState.RUNNING
    ]
    failures = [
        Failure(_job(trial), _name(trial), trial.user_attrs["failure"], _job(trial) not in given_up)
        for trial in trials
        if trial.state is TrialState.FAIL and "failure" in trial.user_attrs
    ]
    open_ = []
    for finalist in missing:
        job = jobs.get(finalist.job)
        name = str(finalist)
        if job is not None and job.reason is not None:
            failures.append(Failure(finalist.job, name, job.reason, finalist.job not in given_up))
        if job is not None and job.owner is not None:
            running.append(_running_job(finalist.job, name, jobs, None, now, epochs))
        if finalist.job not in given_up:
            open_.append(finalist)
    return StudyStatus(
        config.name,
        kinds,
        (recorded, recorded + len(missing)),
        tuple(running),
        tuple(failures),
        _seconds_left(trials, kinds, open_, running),
    )


def _count_kinds(trials: Sequence[FrozenTrial], config: Config, given_up: Container[str]) -> tuple[KindStatus, ...]:
    counts: dict[str, dict[str, int]] = {strategy: defaultdict(int) for strategy in STRATEGIES}
    for trial in trials:
        kind = strategy_of_trial(trial)
        gone = trial.state is TrialState.FAIL and _job(trial) not in given_up
        if kind in counts and not gone and trial.state in _STATES:
            counts[kind][_STATES[trial.state]] += 1
    # Most of those that are still to be trained have not been created.
    for strategy, unfinished in outstanding_trials(trials, config).by_strategy.items():
        if strategy in counts:
            counts[strategy]["waiting"] = max(unfinished - counts[strategy]["running"], 0)
    budget = config.budget
    asked_for = [strategy for strategy in STRATEGIES if strategy != "refined" or budget[strategy] or counts[strategy]]
    return tuple(KindStatus(strategy, budget[strategy], **counts[strategy]) for strategy in asked_for)


_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.FAIL: "failed",
}


def _job(trial: FrozenTrial) -> str:
    return f"trial/{trial.number}"


def _name(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("name", trial.user_attrs.get("manual_name", strategy_of_trial(trial) or "?")))


def _running_job(
    key: str, name: str, jobs: Mapping[str, Job], begun: datetime | None, now: datetime, epochs: int
) -> RunningJob:
    job = jobs.get(key)
    if job is None or job.owner is None:
        since = begun.astimezone(UTC) if begun else now
        return RunningJob(key, name, "?", _seconds(since, now), None, job.epoch if job else 0, epochs, 0)
    silent = _seconds(job.heartbeat_at, now)
    return RunningJob(key, name, job.worker, _seconds(job.claimed_at, now), silent, job.epoch, epochs, job.claims - 1)


def _seconds(then: datetime, now: datetime) -> float:
    return round(max((now - then).total_seconds(), 0.0), 1)


def _seconds_left(
    trials: Sequence[FrozenTrial],
    kinds: Sequence[KindStatus],
    finalists: Sequence[Retraining],
    running: Sequence[RunningJob],
) -> float | None:
    """Estimate the rest from trials that are complete and the workers at work; finalists as far as they are known."""
    taken: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        if "training_seconds" in trial.user_attrs:
            taken[str(strategy_of_trial(trial))].append(trial.user_attrs["training_seconds"])
    left: dict[str, float] = defaultdict(float, {kind.kind: float(kind.unfinished) for kind in kinds})
    for finalist in finalists:
        left[strategy_of(finalist.kind, finalist.name)] += 1
    if not any(left.values()):
        return 0.0
    workers = len({job.worker for job in running if job.silent is not None})
    if not taken or not workers:
        return None
    everything = [seconds for values in taken.values() for seconds in values]
    typical = {kind: mean(taken.get(kind) or everything) for kind in left}
    done = sum(job.epoch / max(job.epochs, 1) for job in running) * mean(everything)
    work = sum(number * typical[kind] for kind, number in left.items()) - done
    return round(max(work, 0.0) / workers, 1)
