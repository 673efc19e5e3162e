"""The comparison of finalists, its statistics, and how far a study is: what figures, notes and tables show."""

from sfgsearch.comparison._comparison import Comparison, Spent, compare
from sfgsearch.comparison._paired import PairedBootstrap, PairedTest, paired_bootstrap
from sfgsearch.comparison._progress import read_comparison, read_progress, read_status, retry_failed
from sfgsearch.comparison._rows import Row
from sfgsearch.comparison._shortfall import Missing, Shortfall
from sfgsearch.comparison._status import StudyStatus, study_status

__all__ = [
    "Comparison",
    "Missing",
    "PairedBootstrap",
    "PairedTest",
    "Row",
    "Shortfall",
    "Spent",
    "StudyStatus",
    "compare",
    "paired_bootstrap",
    "read_comparison",
    "read_progress",
    "read_status",
    "retry_failed",
    "study_status",
]
