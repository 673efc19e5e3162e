"""How figures of single trials are headed, in either drawing library."""

from __future__ import annotations

from sfgsearch.visualization.data._trial_review import TrialReview

NO_PROBABILITIES = "This method has no group probabilities"
NO_HISTORY = "No epoch has come to its end"
LONGEST_NAME = 28
"""Letters of a name that there is room for."""


def trial_title(trial: object, what: str) -> str:
    """Return the title of a figure: the trial, where it is one, and what is shown."""
    return f"{trial.title}: {what}" if isinstance(trial, TrialReview) else what[0].upper() + what[1:]
