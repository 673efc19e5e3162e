"""The tables, all prefixed ``sfgsearch_`` to stay out of Optuna's way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Double, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

SCHEMA_VERSION = 6
"""Raise this with every change to the tables below."""


class Base(DeclarativeBase):
    """Base of the tables."""


class SchemaRow(Base):
    """The version of the tables, in a single row."""

    __tablename__ = "sfgsearch_schema"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class ArchitectureRow(Base):
    """One training of one architecture; see :class:`sfgsearch.records.ArchitectureRecord`."""

    __tablename__ = "sfgsearch_architectures"
    __table_args__ = (UniqueConstraint("study", "role", "trial", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(512), index=True)
    trial: Mapped[int]
    role: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(256))
    backbone: Mapped[dict[str, Any]] = mapped_column(JSON)
    image_shape: Mapped[list[int]] = mapped_column(JSON)
    data_digest: Mapped[str | None] = mapped_column(String(64))
    data_seed: Mapped[int | None] = mapped_column(BigInteger)
    tasks: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    structure: Mapped[dict[str, Any]] = mapped_column(JSON)
    allocation: Mapped[dict[str, Any]] = mapped_column(JSON)
    seed: Mapped[int] = mapped_column(BigInteger)
    units: Mapped[dict[str, str]] = mapped_column(JSON)
    epochs: Mapped[int]
    parameters: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int] = mapped_column(BigInteger)
    training_seconds: Mapped[float] = mapped_column(Double)
    package_version: Mapped[str] = mapped_column(String(32))
    probabilities_artifact: Mapped[str | None] = mapped_column(String(64))
    weights_artifact: Mapped[str | None] = mapped_column(String(64))
    weights_digest: Mapped[str | None] = mapped_column(String(64))
    monte_carlo_samples: Mapped[int | None]
    monte_carlo_parameters: Mapped[int | None] = mapped_column(BigInteger)
    monte_carlo_macs: Mapped[int | None] = mapped_column(BigInteger)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    metrics: Mapped[list[MetricRow]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class MetricRow(Base):
    """One metric of one task on one split; a row without task is the mean relative error over tasks.

    ``inference`` is ``"network"`` for the network that the method predicts with, ``"monte_carlo"`` for the average
    over sampled masks.
    """

    __tablename__ = "sfgsearch_metrics"

    id: Mapped[int] = mapped_column(primary_key=True)
    architecture_id: Mapped[int] = mapped_column(
        ForeignKey("sfgsearch_architectures.id", ondelete="CASCADE"), index=True
    )
    inference: Mapped[str] = mapped_column(String(16))
    split: Mapped[str] = mapped_column(String(16))
    task: Mapped[str] = mapped_column(String(256))
    metric: Mapped[str] = mapped_column(String(64))
    value: Mapped[float] = mapped_column(Double)


class JobRow(Base):
    """One training that a study asks for, and who has the right to do it; see :class:`sfgsearch.records.Job`."""

    __tablename__ = "sfgsearch_jobs"
    __table_args__ = (UniqueConstraint("study", "job"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(512))
    job: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str | None] = mapped_column(String(64))
    worker: Mapped[str] = mapped_column(String(256))
    heartbeat: Mapped[int] = mapped_column(BigInteger)
    claimed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    heartbeat_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    epoch: Mapped[int]
    claims: Mapped[int]
    attempts_without_progress: Mapped[int]
    failures: Mapped[int]
    reason: Mapped[str | None] = mapped_column(Text)
    finished: Mapped[bool]
