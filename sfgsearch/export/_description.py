"""Descriptions: everything about a network but its weights, as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sfgsearch.errors import ExportError
from sfgsearch.records import ArchitectureRecord

VERSION = 1
KEY = "sfgsearch"
"""Name of the description in the metadata of ONNX files."""
FILE = f"{KEY}.json"
"""Name of the description among the extra files of a ``.pt2`` archive."""


class Rebuildable(Protocol):
    """What tells how to rebuild a network: a record, or a description that was read from a file."""

    @property
    def backbone(self) -> Mapping[str, Any]:
        """Name, norm and options of the backbone."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *space) of one image in training."""

    @property
    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """The tasks in order, as :func:`sfgsearch.tasks.task_to_dict` writes them."""

    @property
    def structure(self) -> Mapping[str, Any]:
        """What :class:`sfgsearch.nn.Structure` reads."""


@dataclass(frozen=True)
class NetworkDescription:
    """What rebuilds a network, read from the JSON beside exported weights.

    Args:
        backbone: Name, norm and options of the backbone.
        image_shape: (C, *space) of one image in training.
        tasks: The tasks in order, as :func:`sfgsearch.tasks.task_to_dict` writes them.
        structure: What :class:`sfgsearch.nn.Structure` reads.
    """

    backbone: Mapping[str, Any]
    image_shape: tuple[int, ...]
    tasks: Sequence[Mapping[str, Any]]
    structure: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: str) -> NetworkDescription:
        """Read what :func:`describe_network` returned, as JSON.

        Raises:
            ExportError: If it is no such description, or one of a later version.
        """
        try:
            data = json.loads(text)
            version = data["version"]
            description = cls(
                dict(data["backbone"]), tuple(data["image_shape"]), list(data["tasks"]), dict(data["structure"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(f"not the description of an exported network: {type(error).__name__}: {error}") from error
        if version != VERSION:
            raise ExportError(
                f"the description has version {version}, this sfgsearch reads {VERSION}; use the one that wrote it"
            )
        return description


def describe_network(record: ArchitectureRecord) -> dict[str, Any]:
    """Return what exported files say of a network: what it is, where it came from, how it measured.

    Regression tasks predict in the scale of training; ``scale`` and ``unit`` among their keys turn predictions into
    what users read.

    Args:
        record: The recorded training.

    Returns:
        Plain data for JSON.
    """
    return {
        "version": VERSION,
        "package_version": record.package_version,
        "trial": record.trial,
        "role": record.role,
        "kind": record.kind,
        "name": record.name,
        "seed": record.seed,
        "epochs": record.epochs,
        "backbone": dict(record.backbone),
        "image_shape": list(record.image_shape),
        "tasks": [dict(task) for task in record.tasks],
        "structure": dict(record.structure),
        "allocation": record.allocation.to_dict(),
        "parameters": record.parameters,
        "macs": record.macs,
        "metrics": {split: _finite(metrics) for split, metrics in record.metrics.items()},
        "units": dict(record.units),
        "relative_errors": _finite(record.scores),
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return values with None for what JSON has no number for, such as the signal-to-noise ratio of no noise."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
