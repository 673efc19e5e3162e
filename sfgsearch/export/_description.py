"""Descriptions: everything about a network but its weights, as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfgsearch.errors import ExportError
from sfgsearch.records import ArchitectureRecord

VERSION = 1
KEY = "sfgsearch"
"""Name of the description in the metadata of ONNX files."""
FILE = f"{KEY}.json"
"""Name of the description among the extra files of a ``.pt2`` archive."""
WEIGHTS_DIGEST = "weights_digest"
"""Key of the SHA-256 of weights that are a file beside the description."""
_LARGEST_SIZE = 1_000_000


@dataclass(frozen=True)
class NetworkDescription:
    """The description of a network, read from the JSON beside exported weights.

    Args:
        backbone: Name and options of the backbone.
        image_shape: (C, *space) of one image in training.
        tasks: The tasks in order, as :func:`sfgsearch.tasks.task_to_dict` writes them.
        structure: What :class:`sfgsearch.nn.Structure` reads.
        weights_digest: SHA-256 of the file with the weights; None if the file says nothing of it.
    """

    backbone: Mapping[str, Any]
    image_shape: tuple[int, ...]
    tasks: Sequence[Mapping[str, Any]]
    structure: Mapping[str, Any]
    weights_digest: str | None = None

    @classmethod
    def from_json(cls, text: str) -> NetworkDescription:
        """Read what :func:`describe_network` returned, as JSON.

        Raises:
            ExportError: If it is no such description, or one of another version.
        """
        try:
            data = json.loads(text)
            _check(data)
        except (ValueError, RecursionError) as error:
            raise ExportError(f"not the description of an exported network: {error}") from error
        shape = tuple(data["image_shape"])
        return cls(data["backbone"], shape, data["tasks"], data["structure"], data.get(WEIGHTS_DIGEST))


def _check(data: Any) -> None:
    """Check the version and the types of a description.

    Raises:
        ExportError: If it has another version.
        ValueError: If something is missing or of another type.
    """
    if not isinstance(data, dict) or "version" not in data:
        raise ValueError("it has no version")
    if data["version"] != VERSION:
        raise ExportError(
            f"the description has version {str(data['version'])[:20]}, this sfgsearch reads {VERSION}; use the one "
            "that wrote it"
        )
    for key, kind in (("backbone", dict), ("image_shape", list), ("tasks", list), ("structure", dict)):
        if not isinstance(data.get(key), kind):
            raise ValueError(f"its {key!r} is missing or no {kind.__name__}")
    if not data["tasks"] or not all(isinstance(task, dict) for task in data["tasks"]):
        raise ValueError("its 'tasks' are missing or no list of dicts")
    if not all(type(size) is int and 1 <= size <= _LARGEST_SIZE for size in data["image_shape"]):
        raise ValueError(f"its 'image_shape' must hold whole numbers from 1 to {_LARGEST_SIZE}")
    if not isinstance(data.get(WEIGHTS_DIGEST), str | None):
        raise ValueError(f"its {WEIGHTS_DIGEST!r} is no text")


def describe_network(record: ArchitectureRecord) -> dict[str, Any]:
    """Return what exported files say of a network: what it is, where it came from, how it measured.

    Regression tasks predict in the scale of training; ``scale`` and ``unit`` among their keys turn predictions into
    what users read.

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
