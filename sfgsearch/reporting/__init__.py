"""Tables, notes, reports and dashboard pages: what people read of a study."""

from sfgsearch.reporting._durations import duration
from sfgsearch.reporting._json import to_json
from sfgsearch.reporting._objective import Objective
from sfgsearch.reporting._show import describe_trial
from sfgsearch.reporting._status_tables import status_summary, status_tables
from sfgsearch.reporting._study_tables import comparison_tables, tests_table
from sfgsearch.reporting._table import WIDEST, Column, Table
from sfgsearch.reporting._trial_tables import trial_tables

__all__ = [
    "WIDEST",
    "Column",
    "Objective",
    "Table",
    "comparison_tables",
    "describe_trial",
    "duration",
    "status_summary",
    "status_tables",
    "tests_table",
    "to_json",
    "trial_tables",
]
