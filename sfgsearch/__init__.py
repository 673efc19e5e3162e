"""Neural architecture search for multi-task CNNs: learned, searched and manual filter allocations on Optuna."""

from sfgsearch._version import __version__
from sfgsearch.allocation import Allocation
from sfgsearch.config import Config, load_config
from sfgsearch.errors import SFGSearchError
from sfgsearch.export import load_exported
from sfgsearch.reporting import Objective
from sfgsearch.search import create_study

__all__ = [
    "Allocation",
    "Config",
    "Objective",
    "SFGSearchError",
    "__version__",
    "create_study",
    "load_config",
    "load_exported",
]
