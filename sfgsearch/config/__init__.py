"""Study files: what they may say, and the experiment that they describe."""

from typing import TYPE_CHECKING

from sfgsearch._lazy import lazy_exports
from sfgsearch.config._load import load_config
from sfgsearch.config._models import Config
from sfgsearch.config._sections import (
    ComparisonSection,
    LearnedSection,
    PrunerSection,
    RefinedSection,
    SamplerSection,
    SearchedSection,
)
from sfgsearch.config._settings import Choices, Fixed, Range, Setting

if TYPE_CHECKING:
    from sfgsearch.config._build import build_experiment, load_data, manual_candidates

__all__ = [
    "Choices",
    "ComparisonSection",
    "Config",
    "Fixed",
    "LearnedSection",
    "PrunerSection",
    "Range",
    "RefinedSection",
    "SamplerSection",
    "SearchedSection",
    "Setting",
    "build_experiment",
    "load_config",
    "load_data",
    "manual_candidates",
]

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__ = lazy_exports(
        __name__, dict.fromkeys(("build_experiment", "load_data", "manual_candidates"), "_build")
    )
