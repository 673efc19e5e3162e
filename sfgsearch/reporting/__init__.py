"""Tables, notes, reports and dashboard pages: what people read of a study."""

from sfgsearch.reporting._json import to_json
from sfgsearch.reporting._objective import Objective
from sfgsearch.reporting._show import describe_trial
from sfgsearch.reporting._status_tables import duration, status_tables
from sfgsearch.reporting._tables import WIDEST, comparison_tables, search_cost, tests_table, trial_tables

__all__ = [
    "WIDEST",
    "Objective",
    "comparison_tables",
    "describe_trial",
    "duration",
    "search_cost",
    "status_tables",
    "tests_table",
    "to_json",
    "trial_tables",
]
