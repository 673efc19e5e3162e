"""The comparison of finalists, its statistics, and how far a study is: what figures, notes and tables show."""

from typing import TYPE_CHECKING

from sfgsearch._lazy import lazy_exports

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # which would take every name for one of the package
    __getattr__ = lazy_exports(
        __name__,
        {
            "Comparison": "_comparison",
            "Missing": "_shortfall",
            "PairedBootstrap": "_paired",
            "PairedTest": "_paired",
            "Row": "_rows",
            "Shortfall": "_shortfall",
            "Spent": "_comparison",
            "StudyStatus": "_status",
            "compare": "_comparison",
            "paired_bootstrap": "_paired",
            "read_comparison": "_progress",
            "read_progress": "_progress",
            "read_status": "_progress",
            "retry_failed": "_progress",
            "study_status": "_status",
        },
    )
