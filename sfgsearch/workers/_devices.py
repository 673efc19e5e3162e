"""Sharing GPUs among the workers of one machine."""

from __future__ import annotations

from sfgsearch.errors import StudyError


def share_devices(workers: int, gpus: int, gpus_per_worker: float | None) -> list[str | None]:
    """Return the device of every worker, or None where the study file shall decide.

    Args:
        workers: How many there are.
        gpus: How many GPUs the machine has.
        gpus_per_worker: The part of a GPU that a worker needs; None spreads workers evenly however many there are.

    Raises:
        StudyError: If there are fewer GPUs than workers need.
    """
    if gpus_per_worker is not None and gpus_per_worker <= 0:
        raise StudyError(f"--gpus-per-worker must be above 0, got {gpus_per_worker:g}; leave it out to use no share")
    if gpus_per_worker is not None:
        if gpus_per_worker > 1:
            raise StudyError(f"--gpus-per-worker {gpus_per_worker:g}: a worker trains on one GPU; use at most 1")
        per_gpu = int(1 / gpus_per_worker + 1e-9)
        if workers > gpus * per_gpu:
            raise StudyError(
                f"--gpus-per-worker {gpus_per_worker:g}: {gpus} GPUs serve {gpus * per_gpu} workers, not {workers}; "
                "start fewer, or give each a smaller share"
            )
        return [f"cuda:{index // per_gpu}" for index in range(workers)]
    return [f"cuda:{index % gpus}" if gpus else None for index in range(workers)]
