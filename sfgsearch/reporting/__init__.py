"""What people read: the comparison of finalists and the description of a trial."""

from sfgsearch.reporting._comparison import Comparison, Row, Spent, compare
from sfgsearch.reporting._show import describe_trial
from sfgsearch.reporting._tables import comparison_table, search_cost, trial_tables

__all__ = ["Comparison", "Row", "Spent", "compare", "comparison_table", "describe_trial", "search_cost", "trial_tables"]
