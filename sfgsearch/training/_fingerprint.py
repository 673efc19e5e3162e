"""Which training a checkpoint is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from sfgsearch._version import __version__
from sfgsearch.data import Augmentation, MultiTaskData
from sfgsearch.methods import Method
from sfgsearch.nn import NetworkSpec
from sfgsearch.training._settings import TrainingSettings

Fingerprint = dict[str, str]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LONGEST_SHOWN = 60
# What these say is not of a course of training but of where it runs and what its result is used for.
_IRRELEVANT = {"device", "threads", "monte_carlo_samples"}


def fingerprint(
    method: Method,
    seed: int,
    spec: NetworkSpec,
    data: MultiTaskData,
    settings: TrainingSettings,
    augmentation: Augmentation,
    device: torch.device,
) -> Fingerprint:
    """Return everything that fixes the course of a training, in words.

    A method, task or backbone of your own counts as what its ``repr`` says, without addresses in memory.
    """
    relevant = [field.name for field in fields(settings) if field.name not in _IRRELEVANT]
    parts: dict[str, Any] = {
        "version of sfgsearch": __version__,
        "version of torch": torch.__version__,
        "type of device": device.type,
        "seed": seed,
        "method": method,
        "network": spec,
        "tasks": data.tasks,  # with class weights, and all that repr says of a task of one's own: digests lack these
        "digest of the data": data.identity.digest,
        "augmentation": augmentation,
        **{name: getattr(settings, name) for name in relevant},
    }
    return {name: _ADDRESS.sub("", str(value)) for name, value in parts.items()}


def difference(found: Mapping[str, Any], expected: Fingerprint) -> str | None:
    """Return what differs between the fingerprint of a checkpoint and of a training, None if nothing does."""
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    return "; ".join(_describe(name, found.get(name), expected.get(name)) for name in differing) or None


def _describe(name: str, found: Any, expected: str | None) -> str:
    short = all(value is None or len(str(value)) <= _LONGEST_SHOWN for value in (found, expected))
    return f"{name} was {found} and is {expected}" if short else f"{name} was another"
