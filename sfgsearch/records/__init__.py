"""Records: every trained architecture, in the study's own database beside Optuna's tables."""

from sfgsearch.records._jobs import Job, Jobs
from sfgsearch.records._lease import Lease
from sfgsearch.records._models import SCHEMA_VERSION
from sfgsearch.records._store import ArchitectureRecord, MonteCarloRecord, Records
from sfgsearch.records._strategies import STRATEGIES, Strategy, strategy_of

__all__ = [
    "SCHEMA_VERSION",
    "STRATEGIES",
    "ArchitectureRecord",
    "Job",
    "Jobs",
    "Lease",
    "MonteCarloRecord",
    "Records",
    "Strategy",
    "strategy_of",
]
