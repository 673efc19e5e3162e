"""Records: every trained architecture, in the study's own database beside Optuna's tables."""

from sfgsearch.records._attributes import ALLOCATION, allocation_attribute, allocation_of, repairs_of
from sfgsearch.records._jobs import Job, Jobs
from sfgsearch.records._lease import Lease
from sfgsearch.records._models import SCHEMA_VERSION
from sfgsearch.records._store import ArchitectureRecord, MonteCarloRecord, Records
from sfgsearch.records._strategies import KIND, START, STRATEGIES, Strategy, sources_of, strategy_of, strategy_of_trial

__all__ = [
    "ALLOCATION",
    "KIND",
    "SCHEMA_VERSION",
    "START",
    "STRATEGIES",
    "ArchitectureRecord",
    "Job",
    "Jobs",
    "Lease",
    "MonteCarloRecord",
    "Records",
    "Strategy",
    "allocation_attribute",
    "allocation_of",
    "repairs_of",
    "sources_of",
    "strategy_of",
    "strategy_of_trial",
]
