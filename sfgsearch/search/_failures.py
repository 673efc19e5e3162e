"""What a failed training says to its user."""

from __future__ import annotations

import torch

from sfgsearch.errors import SFGSearchError
from sfgsearch.training import Experiment

_LONGEST = 500
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def explain_failure(error: Exception, experiment: Experiment) -> str:
    """Return the reason why a training failed, short enough for an attribute of its trial.

    Args:
        error: What ended it.
        experiment: What was trained under; memory that ran out is a matter of its batch size.
    """
    if is_out_of_memory(error):
        batch = experiment.settings.batch_size
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = f"out of memory on {experiment.device} with batch size {batch}; lower training.batch_size ({first})"
    elif isinstance(error, SFGSearchError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    return reason[:_LONGEST]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, of a GPU or of the machine."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)
    )
