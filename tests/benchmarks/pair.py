"""One training twice at the same time: bare, and as the trial of a worker."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import BrokenBarrierError

import optuna

from sfgsearch.config import load_config
from sfgsearch.errors import BenchmarkError
from sfgsearch.methods import Method
from sfgsearch.reporting import Objective
from sfgsearch.search import create_study
from sfgsearch.search._queue import enqueue_missing
from sfgsearch.search._study import trial_sampler
from sfgsearch.training import EpochReport
from sfgsearch.workers import StopRequest, Worker
from sfgsearch.workers._order import leave_with_parent
from tests.benchmarks.gate import Gate
from tests.benchmarks.machine import usable_cores
from tests.benchmarks.timed import TimedExperiment

_SWAP = 1.0
"""Seconds after which the two change cores."""


@dataclass(frozen=True)
class Timing:
    """What one of the two took.

    Args:
        seconds: Wall-clock time.
        cpu_seconds: CPU time of the process, all threads.
        score: Relative error on the validation split, by which one sees that both trained the same.
        epoch_ends: Seconds from the start to the end of every epoch, of the bare training.
        shares: Seconds of the trial's main thread outside of training, by what they went into.
    """

    seconds: float
    cpu_seconds: float
    score: float
    epoch_ends: tuple[float, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What both processes of a pair do.

    Args:
        file: The study file.
        warm_up: Another one, whose only trial is short: each does it beforehand, so that what a process does for the
            first time does not count.
        storage: The database, which may hold a password.
    """

    file: Path
    warm_up: Path
    storage: str = field(repr=False)


Side = Callable[[Work, Gate], Timing]
"""What one process of a pair does: gets ready, waits at the gate, and trains."""


def train_bare(work: Work, gate: Gate) -> Timing:
    """Train what the study's first trial trains, with nothing around it."""
    config = load_config(work.file)
    objective = Objective(config)
    method = first_method(objective)
    warm_up = Objective(load_config(work.warm_up))
    warm_up.experiment.train(first_method(warm_up), config.study.seed)
    parent, ends = os.getppid(), list[float]()

    def end_epoch(_report: EpochReport) -> None:
        ends.append(time.perf_counter() - start)
        if os.getppid() != parent:
            raise SystemExit  # whoever started the benchmark is gone

    gate.wait()
    start, cpu = time.perf_counter(), time.process_time()
    trained = objective.experiment.train(method, config.study.seed, on_epoch=end_epoch)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return Timing(seconds, cpu_seconds, trained.scores["validation"], epoch_ends=tuple(ends))


def train_as_trial(work: Work, gate: Gate) -> Timing:
    """Be a worker of a study with one trial, from its claim to the check that the quota is met."""
    warm_up = load_config(work.warm_up).with_overrides(storage=work.storage)
    Worker(create_study(warm_up, join=True), Objective(warm_up)).run()
    config = load_config(work.file).with_overrides(storage=work.storage)
    objective = Objective(config)
    objective.experiment = experiment = TimedExperiment.of(objective.experiment)
    study = create_study(config, objective=objective, join=True)
    stop = StopRequest()
    leave_with_parent(stop)
    worker = Worker(study, objective, stop=stop)
    gate.wait()
    start, cpu = time.perf_counter(), time.process_time()
    status = worker.run()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    if status:
        raise SystemExit(status)
    (trial,) = study.get_trials(deepcopy=False)
    if trial.value is None:
        raise BenchmarkError(f"the trial is {trial.state.name.lower()}: {trial.user_attrs.get('failure', 'no reason')}")
    return Timing(seconds, cpu_seconds, trial.value, shares=experiment.account.shares(seconds))


def first_method(objective: Objective) -> Method:
    """Return what the first trial of a study trains: suggestions depend on the study's seed and the trial's number."""
    config = objective.config
    study = optuna.create_study(sampler=trial_sampler(config, config.study.seed, 0))
    enqueue_missing(study, config)
    _, _, method = objective._candidate(study.ask())
    return method


def run_pair(work: Work, sides: Sequence[Side]) -> list[Timing]:
    """Run two trainings at the same time and return what they took, in order.

    Each has a core of its own, and they change cores every second: what slows a core, for a while or always, slows both
    alike. Where processes cannot be pinned, or there is one core, the system decides.

    Raises:
        BenchmarkError: If a process fails.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    gate = Gate.of(context, len(sides))
    processes: list[ForkServerProcess] = []
    results: list[Connection] = []
    try:
        for side in sides:
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=_be, args=(side, work, gate, sending), daemon=True)
            process.start()
            sending.close()
            processes.append(process)
            results.append(receiving)
        _swap_until_done(processes)
        return _receive(results)
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()


def _be(side: Side, work: Work, gate: Gate, results: Connection) -> None:
    os.setpgrp()  # a Ctrl-C is for the process that started this one
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        results.send(side(work, gate))
    except BrokenBarrierError:
        results.send("")  # the other one says why
    except Exception as error:
        gate.barrier.abort()
        results.send(f"{type(error).__name__}: {error}")


def _receive(results: Sequence[Connection]) -> list[Timing]:
    timings: list[Timing] = []
    failures: list[str] = []
    for result in results:
        try:
            received = result.recv()
        except EOFError:
            received = "its process died"
        if isinstance(received, Timing):
            timings.append(received)
        else:
            failures.append(received)
    if failures:
        raise BenchmarkError(f"a training of the benchmark failed: {max(failures, key=len)}")
    return timings


def _swap_until_done(processes: Sequence[ForkServerProcess]) -> None:
    cores = usable_cores()[: len(processes)]
    can_pin = hasattr(os, "sched_setaffinity") and len(cores) == len(processes)
    while all(process.is_alive() for process in processes):
        if can_pin:
            cores = [*cores[1:], *cores[:1]]
            for process, core in zip(processes, cores, strict=True):
                _pin(process.pid, core)
        processes[0].join(_SWAP)
    for process in processes:
        process.join()


def _pin(pid: int | None, core: int) -> None:
    """Pin all threads of a process to a core."""
    with suppress(OSError):  # it has ended, or one of its threads has
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})
