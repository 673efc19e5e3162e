"""Orders of launched workers, and how a worker begins."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sfgsearch.config import Config, load_config
from sfgsearch.reporting import Objective
from sfgsearch.search import create_study
from sfgsearch.storage import retry_on_outage
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._stop import StopRequest
from sfgsearch.workers._worker import Worker

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerOrder:
    """Everything that a worker on this or another machine needs to know: names and paths, no data.

    Args:
        file: The study file.
        storage: The database URL, which may hold a password and is not shown.
        name: What people call the worker.
        seed: The study's seed, where the command line says so.
        data: Where the data are, likewise.
        device: Where it trains; what the study file says if None.
        threads: CPU threads where the study file leaves them to torch; torch's own choice if None.
    """

    file: Path
    storage: str = field(repr=False)
    name: str
    seed: int | None = None
    data: Path | None = None
    device: str | None = None
    threads: int | None = None

    def config(self) -> Config:
        """Read the study file, with what a command line changed."""
        return load_config(self.file).with_overrides(
            seed=self.seed, storage=self.storage, data=self.data, device=self.device
        )


def work(
    order: WorkerOrder,
    owner: str | None = None,
    listener: WorkerListener | None = None,
    stop: StopRequest | None = None,
    objective: Callable[[Config], Objective] = Objective,
) -> int:
    """Be the worker of an order.

    Args:
        order: The order.
        owner: A key that no other worker has; drawn if None.
        listener: Is told what happens.
        stop: The wish to leave.
        objective: Makes the study's objective.

    Returns:
        The exit status; see :meth:`Worker.run`.
    """
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    config = order.config()
    made = objective(config)

    def begin() -> Worker:
        study = create_study(config, objective=made, join=True, enqueue=False)
        return Worker(study, made, owner=owner, name=order.name, stop=stop, listener=listener)

    return retry_on_outage(begin).run()


def leave_with_parent(stop: StopRequest) -> None:
    """Ask to leave, as SIGTERM does, when the process dies that started this one, or that it was forked from."""
    fork_server, parent = os.getppid(), multiprocessing.parent_process()

    def look() -> None:
        while os.getppid() == fork_server and (parent is None or parent.is_alive()):
            if stop.wait(_POLL_SECONDS):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, name="look after the parent", daemon=True).start()
