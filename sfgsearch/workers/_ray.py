"""Workers on a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import optuna

from sfgsearch.errors import StudyError
from sfgsearch.reporting import Objective
from sfgsearch.storage import retry_on_outage
from sfgsearch.workers._order import WorkerOrder
from sfgsearch.workers._pool import POLL_SECONDS, Ended, WorkerPool
from sfgsearch.workers._ray_actor import RayActor, RemoteListenerFactory

_THREADS = 3
"""Threads of an actor: working, sending lines, being asked to leave."""

_CONNECT_SECONDS = 10.0

_EXIT_SECONDS = 12.0
"""Seconds that workers get to leave in; the promise is ten."""


def _ray() -> Any:
    """Return the package, which is heavy and an extra."""
    # Ray reports its use to its makers, and hides GPUs from whoever asks for none, unless told otherwise beforehand.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise StudyError("--engine ray needs Ray: pip install 'sfgsearch[ray]'") from error
    return ray


@dataclass(frozen=True)
class RayCluster:
    """A cluster that this process has joined.

    Args:
        cpus: CPU cores of all nodes.
        gpus: GPUs of all nodes.
        is_here: Whether all nodes are this machine.
    """

    cpus: float
    gpus: float
    is_here: bool


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[RayCluster]:
    """Join a Ray cluster in the block.

    Args:
        address: Its address, such as ``"10.0.0.1:6379"`` or ``"auto"``; if None that in the environment variable
            ``RAY_ADDRESS``, the one that runs on this machine, or else a new one of this machine alone, which ends
            with the block.

    Raises:
        StudyError: If Ray is not installed, or no cluster answers.
    """
    ray = _ray()
    try:
        _check_address(address)
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"--address {address}" if address else "Ray"
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"{where}: no cluster could be joined ({reason}); start one with ray start --head, or leave --address out "
            "for one of this machine alone"
        ) from error
    try:
        resources = ray.cluster_resources()
        hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        yield RayCluster(resources.get("CPU", 0.0), resources.get("GPU", 0.0), hosts <= {socket.gethostname()})
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Raise an error where nobody listens; Ray itself would try for minutes.

    Raises:
        OSError: If nobody does.
        ValueError: If the address has no port.
    """
    if not address or address in ("auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        raise ValueError("not of the form HOST:PORT")
    socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_SECONDS).close()


@dataclass
class _Running:
    order: WorkerOrder
    owner: str
    actor: Any
    result: Any
    lines: Any


class RayWorkers(WorkerPool):
    """Workers as actors of a Ray cluster, which this process has joined.

    Ray decides on which node each is, and waits until there is room. One that is lost with its process or its node gets
    a new place.

    Args:
        study: The study, which exists.
        orders: One per worker.
        listener: Makes the listener of a worker from its name and what takes its lines.
        say: Called with the lines of workers.
        note: Called with a sentence about a worker that died.
        gpus: The part of a GPU that each gets.
        cpus: CPU cores of each.
        objective: Makes the study's objective.

    Raises:
        StudyError: If the study is not in a database.
    """

    def __init__(
        self,
        study: optuna.Study,
        orders: Sequence[WorkerOrder],
        listener: RemoteListenerFactory,
        say: Callable[[str], None],
        note: Callable[[str], None],
        *,
        gpus: float = 0.0,
        cpus: float = 1.0,
        objective: Callable[..., Objective] = Objective,
    ) -> None:
        super().__init__(study, orders, note)
        self._ray, self._say = _ray(), say
        self._listener, self._objective = listener, objective
        # What Ray starts again by itself would have the key of one that may live on, out of reach.
        self._actors = self._ray.remote(max_concurrency=_THREADS, max_restarts=0)(RayActor).options(
            num_cpus=cpus, num_gpus=gpus
        )
        self._running: list[_Running] = []
        self._asked: list[int] = []
        self._deadline = math.inf

    def _start(self, order: WorkerOrder, owner: str) -> None:
        actor = self._actors.remote(order, owner, self._listener, self._objective)
        self._running.append(_Running(order, owner, actor, actor.run.remote(), actor.lines.remote()))

    def _any_left(self) -> bool:
        return bool(self._running)

    def _ask_to_leave(self, number: int) -> None:
        self._asked.append(number)  # Ray is not called in handlers of signals, which may interrupt Ray

    def _ended(self) -> list[Ended]:
        self._pass_signals_on()
        answers = [answer for running in self._running for answer in (running.result, running.lines)]
        ready, _ = self._ray.wait(answers, num_returns=len(answers), timeout=POLL_SECONDS)
        over = [running for running in self._running if running.result in ready]
        self._running = [running for running in self._running if running not in over]
        for running in self._running:
            if running.lines in ready:
                self._pass_lines_on(running)
        ended = [self._outcome(running) for running in over]
        if any(one.status == 0 for one in ended):
            self._expect_end()  # the study is over; workers that Ray found no room for shall not wait for it any more
        if time.monotonic() > self._deadline:
            self._end()
        return ended

    def _pass_signals_on(self) -> None:
        while self._asked:
            number = self._asked.pop(0)
            if self._signals.count(signal.SIGINT) > 1:
                self._end()
            for running in self._running:
                running.actor.leave.remote(number)
            if number == signal.SIGTERM:
                self._expect_end()

    def _expect_end(self) -> None:
        self._deadline = min(self._deadline, time.monotonic() + _EXIT_SECONDS)

    def _pass_lines_on(self, running: _Running) -> None:
        try:
            for line in self._ray.get(running.lines):
                self._say(line)
        except self._ray.exceptions.RayError:
            return  # its end will be noticed
        running.lines = running.actor.lines.remote()

    def _outcome(self, running: _Running) -> Ended:
        """Return how a worker ended."""
        try:
            status, reason = self._ray.get(running.result)
        except self._ray.exceptions.RayTaskError as error:
            return Ended(running.order, running.owner, 1, f"{type(error.cause).__name__}: {error.cause}")
        except self._ray.exceptions.RayError as error:
            self._kill(running)
            if isinstance(error, self._ray.exceptions.ActorUnavailableError):
                return Ended(running.order, running.owner, None, "its node does not answer", is_gone=False)
            return Ended(running.order, running.owner, None, _reason(error))
        for _ in range(2):  # what was asked for before it ended, and what was said since
            self._pass_lines_on(running)
        self._kill(running)
        return Ended(running.order, running.owner, status, reason)

    def _kill(self, running: _Running) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(running.actor)

    def _end(self) -> None:
        """Kill workers that are left, and free what they held."""
        left, self._running = self._running, []
        for running in left:
            self._kill(running)
            retry_on_outage(partial(self._jobs.release_dead, running.owner))


def _reason(error: Exception) -> str:
    """Return what Ray says of the end of an actor, in a few words."""
    text = " ".join(str(error).split())
    known = re.search(r"because (its [\w ]+ has died)|(\w+(?:Error|Exception): .*)$", text)
    return known[1] or known[2] if known else text.partition(". ")[0]
