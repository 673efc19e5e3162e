"""Sharing GPUs among the workers of one machine."""

from __future__ import annotations

import math

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
    if gpus_per_worker is not None:
        _check_share(gpus_per_worker)
        per_gpu = int(1 / gpus_per_worker + 1e-9)
        if workers > gpus * per_gpu:
            raise StudyError(
                f"--gpus-per-worker {gpus_per_worker:g}: {gpus} GPUs serve {gpus * per_gpu} workers, not {workers}; "
                "start fewer, or give each a smaller share"
            )
        return [f"cuda:{index // per_gpu}" for index in range(workers)]
    return [f"cuda:{index % gpus}" if gpus else None for index in range(workers)]


def share_of_gpu(workers: int, gpus: float, gpus_per_worker: float | None) -> float:
    """Return the part of a GPU that every worker asks of a cluster.

    Args:
        workers: How many there are.
        gpus: How many GPUs the cluster has now; it may grow.
        gpus_per_worker: The part that a worker needs; None spreads workers evenly however many there are.

    Raises:
        StudyError: If no worker can have such a part.
    """
    if gpus_per_worker is not None:
        _check_share(gpus_per_worker)
        return gpus_per_worker
    if gpus < 1:
        return 0.0
    return math.floor(10_000 / math.ceil(workers / int(gpus))) / 10_000  # clusters count in steps of that size


def _check_share(gpus_per_worker: float) -> None:
    if not gpus_per_worker > 0:
        raise StudyError(f"--gpus-per-worker must be above 0, got {gpus_per_worker:g}; leave it out to use no share")
    if gpus_per_worker > 1:
        raise StudyError(f"--gpus-per-worker {gpus_per_worker:g}: a worker trains on one GPU; use at most 1")
