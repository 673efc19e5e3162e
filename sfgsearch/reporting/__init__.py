"""Tables, notes, reports and dashboard pages: what people read of a study."""

from typing import TYPE_CHECKING

from sfgsearch._lazy import lazy_exports

if TYPE_CHECKING:
    from sfgsearch.reporting._objective import Objective
    from sfgsearch.reporting._show import describe_trial, to_json
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
    "status_summary",
    "status_tables",
    "tests_table",
    "to_json",
    "trial_tables",
]

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__ = lazy_exports(
        __name__,
        {
            "Column": "_table",
            "Objective": "_objective",
            "Table": "_table",
            "WIDEST": "_table",
            "comparison_tables": "_study_tables",
            "describe_trial": "_show",
            "status_summary": "_status_tables",
            "status_tables": "_status_tables",
            "tests_table": "_study_tables",
            "to_json": "_show",
            "trial_tables": "_trial_tables",
        },
    )
