"""What it takes to do a study again."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import tomlkit

from sfgsearch._version import __version__
from sfgsearch.config import Config
from sfgsearch.storage import display_url, redact

_PACKAGES = ("torch", "optuna", "numpy", "scikit-learn", "torchmetrics")


def canonical_settings(config: Config) -> str:
    """Return all settings of a study as TOML, defaults too, without passwords.

    Args:
        config: The study file, with what the study was told beyond it.
    """
    sections = _without_none(config.model_dump(mode="json"))
    if config.study.storage is not None:
        sections["study"]["storage"] = display_url(config.study.storage)
    return redact(tomlkit.dumps(sections), config.storage).strip()


def versions() -> dict[str, str]:
    """Return the versions of Python, sfgsearch and what it computes with."""
    found = {"python": platform.python_version(), "sfgsearch": __version__}
    return found | {name: version(name) for name in _PACKAGES}


def command(config: Config) -> str:
    """Return the command that does the study: the seed is in the settings, trials in all are not."""
    trials = "" if config.trials is None else f" --trials {config.trials}"
    return f"sfgsearch run {config.path.name}{trials}"


def _without_none(value: Any) -> Any:
    """Return sections without keys that have no value, which TOML cannot write."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value
