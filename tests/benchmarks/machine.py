"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from typing import Any

import optuna
import torch

from sfgsearch._version import __version__


@dataclass(frozen=True)
class Machine:
    """What must be known of a machine to read ratios measured on it.

    Args:
        cores: CPU cores that this process may use.
        load: Mean number of processes that wanted a core over the last 1, 5 and 15 minutes, where the system says so.
        versions: Of Python, torch, optuna and sfgsearch.
    """

    cores: int
    load: tuple[float, ...]
    versions: dict[str, str]

    @classmethod
    def now(cls) -> Machine:
        """Look at this machine."""
        versions = {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "optuna": optuna.__version__,
            "sfgsearch": __version__,
        }
        return cls(len(usable_cores()), load_average(), versions)

    def __str__(self) -> str:
        """Return cores and load as half a sentence."""
        load = ", load at the start " + " ".join(f"{value:.2f}" for value in self.load) if self.load else ""
        return f"{self.cores} cores{load}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def usable_cores() -> list[int]:
    """Return the CPU cores that this process may use; their numbers mean something where it can be pinned to them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def load_average() -> tuple[float, ...]:
    """Return the load over the last 1, 5 and 15 minutes; empty where the system does not say it."""
    try:
        return tuple(round(value, 2) for value in os.getloadavg())
    except (AttributeError, OSError):
        return ()
