"""Reading and writing records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from weakref import WeakSet

from sqlalchemy import Engine, bindparam, create_engine, delete, func, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from sfgsearch._version import __version__
from sfgsearch.allocation import Allocation
from sfgsearch.errors import RecordsError
from sfgsearch.records._jobs import Jobs
from sfgsearch.records._lease import Lease
from sfgsearch.records._models import SCHEMA_VERSION, ArchitectureRow, Base, JobRow, MetricRow, SchemaRow
from sfgsearch.storage import display_url

Kind = Literal["learned", "searched", "manual"]
Role = Literal["trial", "finalist", "matched", "reversed", "shuffled", "relearned"]
RELATIVE_ERROR = "relative_error"
NETWORK, MONTE_CARLO = "network", "monte_carlo"
_complete: WeakSet[Engine] = WeakSet()
"""Engines of databases that are known to have all tables."""


@dataclass(frozen=True)
class MonteCarloRecord:
    """Monte-Carlo prediction with a network that was trained with sampled masks.

    Args:
        samples: S, the sampled masks.
        parameters: Trainable numbers of the masked network, which all samples share.
        macs: Multiply-adds for one image, of all samples.
        metrics: As in :class:`ArchitectureRecord`; ``"<task>/uncertainty"`` is the mean uncertainty over images.
        scores: As in :class:`ArchitectureRecord`.
    """

    samples: int
    parameters: int
    macs: int
    metrics: dict[str, dict[str, float]]
    scores: dict[str, float]


@dataclass(frozen=True)
class ArchitectureRecord:
    """One training of one architecture.

    Args:
        trial: Number of the trial that it is, or that it retrains.
        role: ``"trial"``; ``"finalist"``, retrained from scratch; ``"matched"``, the same at the width at which its
            multiply-adds are those of hard sharing; ``"reversed"`` and ``"shuffled"``, the same with the shares of its
            layers in reverse or random order; or ``"relearned"``, a learned trial whose allocation is learned again,
            jointly with the weights, from another seed.
        kind: How the allocation came about.
        name: The manual method, or the kind and the trial's number.
        backbone: Name and options of the backbone.
        image_shape: (C, *space) of one image in training.
        tasks: The tasks in order, as :func:`sfgsearch.tasks.task_to_dict` writes them.
        structure: What rebuilds the network that predicts; see :class:`sfgsearch.nn.Structure`.
        allocation: Counts per layer and group; for learned ones mean probabilities and entropies too.
        seed: Seed of the training.
        epochs: Epochs trained.
        parameters: Trainable numbers of the network that predicts.
        macs: Its multiply-adds for one image.
        metrics: Values by split, then by ``"<task>/<metric>"``.
        units: The unit of every metric by ``"<task>/<metric>"``.
        scores: Mean relative error over tasks by split; lower is better.
        training_seconds: Wall-clock time.
        probabilities_artifact: Artifact id of the per-filter probabilities, where there are any.
        weights_artifact: Artifact id of the weights of the network that predicts, where they were kept.
        weights_digest: SHA-256 of that file.
        data_digest: Which data it saw; see :class:`sfgsearch.data.DataIdentity`.
        data_seed: The seed that divided them into splits, where it is known.
        monte_carlo: Monte-Carlo prediction, where the method predicts with another network than that.
        package_version: Of the sfgsearch that trained it.
    """

    trial: int
    role: Role
    kind: Kind
    name: str
    backbone: dict[str, Any]
    image_shape: tuple[int, ...]
    tasks: list[dict[str, Any]]
    structure: dict[str, Any]
    allocation: Allocation
    seed: int
    epochs: int
    parameters: int
    macs: int
    metrics: dict[str, dict[str, float]]
    units: dict[str, str]
    scores: dict[str, float]
    training_seconds: float
    probabilities_artifact: str | None = None
    weights_artifact: str | None = None
    weights_digest: str | None = None
    data_digest: str | None = None
    data_seed: int | None = None
    monte_carlo: MonteCarloRecord | None = None
    package_version: str = field(default=__version__)


def has_table(url: str, name: str) -> bool:
    """Return whether a database has a table, without changing anything.

    Raises:
        RecordsError: If it holds records of another schema version, or cannot be opened.
    """
    check_schema(url)
    engine = create_engine(url)
    try:
        return inspect(engine).has_table(name)
    finally:
        engine.dispose()


class Records:
    """The records of one study.

    Args:
        engine: The database that the study is in; its schema is looked at until it is known to be complete.
        study: The study's name.

    Raises:
        RecordsError: If the database holds records of another schema version or cannot be reached.
    """

    def __init__(self, engine: Engine, study: str) -> None:
        self._engine, self._study = engine, study
        if engine not in _complete:
            check_schema(engine)

    def create_tables(self) -> None:
        """Create the tables where they are missing."""
        Base.metadata.create_all(self._engine)
        with Session(self._engine) as session, session.begin():
            if session.get(SchemaRow, SCHEMA_VERSION) is None:
                session.add(SchemaRow(version=SCHEMA_VERSION))
        _complete.add(self._engine)

    @property
    def have_jobs(self) -> bool:
        """Whether there is a table of jobs, which a database lacks until a study is created in it."""
        return self._have(JobRow)

    @property
    def jobs(self) -> Jobs:
        """The jobs of the study; the tables must exist."""
        return Jobs(self._engine, self._study)

    def add(self, record: ArchitectureRecord, lease: Lease | None = None) -> None:
        """Record a training, in the place of one with the same role, trial and seed.

        Args:
            record: The training.
            lease: What must still be the worker's; nothing is recorded otherwise.

        Raises:
            LeaseLostError: If the job is no longer the owner's.
        """
        if self._engine not in _complete:
            self.create_tables()
        row = {name: getattr(record, name) for name in _COPIED} | {
            "study": self._study,
            "allocation": record.allocation.to_dict(),
            "image_shape": list(record.image_shape),
            "monte_carlo_samples": record.monte_carlo.samples if record.monte_carlo else None,
            "monte_carlo_parameters": record.monte_carlo.parameters if record.monte_carlo else None,
            "monte_carlo_macs": record.monte_carlo.macs if record.monte_carlo else None,
            "recorded_at": datetime.now(UTC),
        }
        place = {"of_study": self._study, "of_role": record.role, "of_trial": record.trial, "of_seed": record.seed}
        with self._engine.begin() as connection:
            if lease is not None:
                lease.lock(connection)
            for old in connection.scalars(_EARLIER, place).all():
                connection.execute(delete(MetricRow).where(MetricRow.architecture_id == old))
                connection.execute(delete(ArchitectureRow).where(ArchitectureRow.id == old))
            inserted: Any = connection.execute(insert(ArchitectureRow), row).inserted_primary_key
            metrics = [{"architecture_id": inserted.id, **metric} for metric in _metric_rows(record)]
            if metrics:
                connection.execute(insert(MetricRow), metrics)

    def all(self, role: Role | None = None, trial: int | None = None) -> list[ArchitectureRecord]:
        """Return the study's records in the order of recording, all or those of a role or trial."""
        if not self._have(ArchitectureRow):
            return []
        query = self._select(role)
        if trial is not None:
            query = query.where(ArchitectureRow.trial == trial)
        with Session(self._engine) as session:
            return [_to_record(row) for row in session.scalars(query.order_by(ArchitectureRow.id))]

    def trials(self) -> set[int]:
        """Return the numbers of the trials that are recorded."""
        if not self._have(ArchitectureRow):
            return set()
        query = select(ArchitectureRow.trial).where(
            ArchitectureRow.study == self._study, ArchitectureRow.role == "trial"
        )
        with self._engine.connect() as connection:
            return set(connection.scalars(query))

    def latest(self) -> int:
        """Return a number that grows with every record; 0 if there is none."""
        if not self._have(ArchitectureRow):
            return 0
        newest = select(func.max(ArchitectureRow.id)).where(ArchitectureRow.study == self._study)
        with self._engine.connect() as connection:
            return connection.execute(newest).scalar() or 0

    def _have(self, table: type[Base]) -> bool:
        return self._engine in _complete or inspect(self._engine).has_table(table.__tablename__)

    def clear(self) -> None:
        """Forget all records of the study."""
        self.create_tables()
        with Session(self._engine) as session, session.begin():
            ids = select(ArchitectureRow.id).where(ArchitectureRow.study == self._study)
            session.execute(delete(MetricRow).where(MetricRow.architecture_id.in_(ids)))
            session.execute(delete(ArchitectureRow).where(ArchitectureRow.study == self._study))
        self.jobs.clear()

    def _select(self, role: Role | None = None):  # type: ignore[no-untyped-def]
        query = select(ArchitectureRow).where(ArchitectureRow.study == self._study)
        return query if role is None else query.where(ArchitectureRow.role == role)


_COPIED = (
    *("trial", "role", "kind", "name", "backbone", "seed", "epochs", "parameters", "macs", "units"),
    *("tasks", "structure", "training_seconds", "package_version", "probabilities_artifact", "weights_artifact"),
    *("weights_digest", "data_digest", "data_seed"),
)

_EARLIER = select(ArchitectureRow.id).where(
    ArchitectureRow.study == bindparam("of_study"),
    ArchitectureRow.role == bindparam("of_role"),
    ArchitectureRow.trial == bindparam("of_trial"),
    ArchitectureRow.seed == bindparam("of_seed"),
)


def check_schema(target: Engine | str) -> None:
    """Check, without changing anything, that records can be kept in a database.

    Args:
        target: An engine, or the URL of a database.

    Raises:
        RecordsError: If it holds records of another schema version, or cannot be reached.
    """
    engine: Engine | None = None
    try:
        engine = create_engine(target) if isinstance(target, str) else target
        if not inspect(engine).has_table(SchemaRow.__tablename__):
            return
        with Session(engine) as session:
            versions = list(session.scalars(select(SchemaRow.version)))
    except (SQLAlchemyError, ImportError) as error:
        place = display_url(target) if isinstance(target, str) else display_url(str(target.url))
        reason = str(error).splitlines()[0]
        raise RecordsError(f"cannot open the database {place}: {reason}") from error
    finally:
        if isinstance(target, str) and engine is not None:
            engine.dispose()
    if versions not in ([], [SCHEMA_VERSION]):
        found = ", ".join(map(str, versions))
        raise RecordsError(
            f"the records in {display_url(str(engine.url))} have schema version {found}, sfgsearch "
            f"{__version__} reads version {SCHEMA_VERSION}; use the sfgsearch that wrote them or another database"
        )


def _metric_rows(record: ArchitectureRecord) -> list[dict[str, Any]]:
    rows = list(_rows(NETWORK, record.metrics, record.scores))
    if record.monte_carlo:
        rows += _rows(MONTE_CARLO, record.monte_carlo.metrics, record.monte_carlo.scores)
    return rows


def _rows(inference: str, metrics: dict[str, dict[str, float]], scores: dict[str, float]) -> Iterator[dict[str, Any]]:
    for split, values in metrics.items():
        for key, value in values.items():
            task, metric = key.rsplit("/", 1)
            yield {"inference": inference, "split": split, "task": task, "metric": metric, "value": value}
    for split, value in scores.items():
        yield {"inference": inference, "split": split, "task": "", "metric": RELATIVE_ERROR, "value": value}


def _to_record(row: ArchitectureRow) -> ArchitectureRecord:
    metrics, scores = _values(row, NETWORK)
    monte_carlo = None
    if row.monte_carlo_samples is not None:
        sampled = _values(row, MONTE_CARLO)
        size = (row.monte_carlo_parameters or 0, row.monte_carlo_macs or 0)
        monte_carlo = MonteCarloRecord(row.monte_carlo_samples, *size, *sampled)
    return ArchitectureRecord(
        **{name: getattr(row, name) for name in _COPIED},
        image_shape=tuple(row.image_shape),
        allocation=Allocation.from_json(row.allocation),
        metrics=metrics,
        scores=scores,
        monte_carlo=monte_carlo,
    )


def _values(row: ArchitectureRow, inference: str) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return the metrics and scores of one way of inference, by split."""
    metrics: dict[str, dict[str, float]] = {}
    scores: dict[str, float] = {}
    for metric in row.metrics:
        if metric.inference != inference:
            continue
        if metric.task:
            metrics.setdefault(metric.split, {})[f"{metric.task}/{metric.metric}"] = metric.value
        else:
            scores[metric.split] = metric.value
    return metrics, scores
