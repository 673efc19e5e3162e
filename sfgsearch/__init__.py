"""Neural architecture search for multi-task CNNs: learned, searched and manual filter allocations on Optuna."""

from typing import TYPE_CHECKING

from sfgsearch._lazy import lazy_exports
from sfgsearch._version import __version__

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__ = lazy_exports(
        __name__,
        {
            "Allocation": "allocation",
            "Config": "config",
            "Objective": "reporting",
            "SFGSearchError": "errors",
            "create_study": "search",
            "load_config": "config",
            "load_exported": "export",
        },
    )


def __dir__() -> list[str]:
    return __all__
