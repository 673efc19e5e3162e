"""What a failed training says to its user."""

from __future__ import annotations

from sfgsearch._faults import explain_os_error, first_line, is_out_of_memory
from sfgsearch.errors import SFGSearchError
from sfgsearch.training import Experiment

_LONGEST = 500


def explain_failure(error: Exception, experiment: Experiment) -> str:
    """Return the reason why a training failed, short enough for an attribute of its trial.

    Args:
        error: What ended it.
        experiment: What was trained under; memory that ran out is a matter of its batch size.
    """
    if isinstance(error, SFGSearchError):
        reason = str(error)
    elif is_out_of_memory(error):
        batch = experiment.settings.batch_size
        reason = (
            f"out of memory on {experiment.device} with batch size {batch}; lower training.batch_size "
            f"({first_line(error)})"
        )
    elif isinstance(error, OSError):
        reason = explain_os_error(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    return reason[:_LONGEST]
