"""What people read: the comparison of finalists and the description of a trial."""

from sfgsearch.reporting._comparison import Comparison, Spent, compare
from sfgsearch.reporting._formats import duration
from sfgsearch.reporting._json import to_json
from sfgsearch.reporting._missing import Missing, Shortfall
from sfgsearch.reporting._paired import PairedBootstrap, PairedTest, paired_bootstrap
from sfgsearch.reporting._rows import Row
from sfgsearch.reporting._show import describe_trial
from sfgsearch.reporting._status import StudyStatus, study_status
from sfgsearch.reporting._status_tables import status_tables
from sfgsearch.reporting._tables import WIDEST, comparison_tables, search_cost, tests_table, trial_tables

__all__ = [
    "WIDEST",
    "Comparison",
    "Missing",
    "PairedBootstrap",
    "PairedTest",
    "Row",
    "Shortfall",
    "Spent",
    "StudyStatus",
    "compare",
    "comparison_tables",
    "describe_trial",
    "duration",
    "paired_bootstrap",
    "search_cost",
    "status_tables",
    "study_status",
    "tests_table",
    "to_json",
    "trial_tables",
]
