"""Throughput: how much of the ideal rate workers reach with trials that only sleep."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import click
import optuna
from optuna.trial import TrialState
from rich.console import RenderableType

from sfgsearch.errors import BenchmarkError
from sfgsearch.search import records_of
from sfgsearch.workers import LocalWorkers, WorkerOrder
from tests.benchmarks.gate import Gate, Journal
from tests.benchmarks.result import Goal, json_option, new_table, run_benchmark, storage_option
from tests.benchmarks.site import Site
from tests.benchmarks.sleep import OVER, RELEASED, journal_listener, sleeping_objective

GOAL = 0.9
"""Of the ideal rate, with trials of 30 s."""

SAMPLERS = ("random", "tpe")
"""Random search shows what the harness costs; the default sampler does its own arithmetic besides."""

_STUDY = """
[data]
name = "digit_pairs"
pairs_per_digit = 1

[backbone]
name = "vgg_small"
plan = [16, "pool", 32, 32, 64]

[training]
epochs = {epochs}
device = "cpu"
threads = 1

[quota]
learned = {learned}
searched = {searched}

[manual]
methods = []

[learned]
lr = {{ low = 0.02, high = 0.1, log = true }}
kl_weight = {{ low = 0.1, high = 2.0, log = true }}

[learned.temperature]
schedule = ["exponential", "linear", "cosine"]
start = {{ low = 1.0, high = 3.0 }}
end = {{ low = 0.1, high = 0.5, log = true }}

[learned.prior]
family = ["uniform", "linear", "learned"]

[sampler]
name = "{sampler}"

[pruner]
warmup_epochs = 1

[comparison]
seeds = 1
learned = 0
searched = 0

[review]
pictures = {pictures}
"""


@dataclass(frozen=True)
class ThroughputOptions:
    """What is measured.

    Args:
        workers: Numbers of workers.
        trials_per_worker: Trials that count, per worker.
        seconds: How long each sleeps.
        epochs: How many it reports.
        samplers: Samplers, of which the first has the goal.
        pictures: Whether trials draw their pictures, which takes longer than all else that is measured here.
    """

    workers: tuple[int, ...] = (1, 4, 16)
    trials_per_worker: int = 4
    seconds: float = 30.0
    epochs: int = 6
    samplers: tuple[str, ...] = SAMPLERS
    pictures: bool = False


@dataclass(frozen=True)
class Run:
    """One study of sleeping trials.

    Args:
        sampler: The study's sampler.
        workers: N.
        trials: Trials that count, without the N of the start.
        wall_seconds: From the opening of the gate to the end of the last trial.
        ideal_seconds: What the trials would take without any harness.
        cpu_seconds_per_trial: CPU seconds of the workers, without the database.
    """

    sampler: str
    workers: int
    trials: int
    wall_seconds: float
    ideal_seconds: float
    cpu_seconds_per_trial: float

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.trials / self.wall_seconds

    @property
    def ratio(self) -> float:
        """The rate as a part of the ideal one."""
        return self.ideal_seconds / self.wall_seconds

    @property
    def added_seconds(self) -> float:
        """What the harness adds to a trial of a worker, in seconds."""
        return (self.wall_seconds - self.ideal_seconds) * self.workers / self.trials

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "rate": self.rate, "ratio": self.ratio, "added_seconds_per_trial": self.added_seconds}


@dataclass(frozen=True)
class Throughput:
    """What sleeping trials came to.

    Args:
        options: What was asked for.
        runs: One per sampler and number of workers.
    """

    options: ThroughputOptions
    runs: tuple[Run, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"goal": GOAL, **asdict(self.options), "runs": [run.to_dict() for run in self.runs]}

    def tables(self) -> Iterator[RenderableType]:
        """Yield one table."""
        columns = ("workers", "sampler", "trials", "wall s", "ideal s", "trials/s", "of the ideal", "added s", "CPU s")
        title = (
            f"throughput: trials that sleep {self.options.seconds:g} s; per trial, what the workers add in time and CPU"
        )
        table = new_table(title, *columns)
        for run in self.runs:
            numbers = (run.wall_seconds, run.ideal_seconds, run.rate, run.ratio, run.added_seconds)
            cells = [f"{number:.2f}" for number in numbers[:4]] + [f"{run.added_seconds:.3f}"]
            table.add_row(str(run.workers), run.sampler, str(run.trials), *cells, f"{run.cpu_seconds_per_trial:.3f}")
        yield table

    def goals(self) -> Sequence[Goal]:
        """Return the ratio of every run."""
        return [
            Goal(
                f"{_workers(run)}, {run.sampler}: {run.ratio:.2f} of the ideal rate (goal {GOAL:.2f})",
                run.ratio,
                GOAL,
                run.ratio >= GOAL,
            )
            for run in self.runs
        ]


def _workers(run: Run) -> str:
    return f"{run.workers} worker" + ("s" if run.workers > 1 else "")


def measure_throughput(site: Site, options: ThroughputOptions) -> Throughput:
    """Let workers do sleeping trials.

    Every worker is a process that takes trials of one study from a real queue: it claims them, asks for the kind and
    for suggestions, reports epochs, asks the pruner, writes attributes, artifacts and the record, tells Optuna and
    finishes the job. Only the training is replaced. Every worker first does a trial that ends at once, and then waits
    for the others with the next one in its hands: the clock runs from there, so that the start of processes, the
    loading of data and what a process does for the first time do not count, to the moment at which the last trial is
    finished.

    Args:
        site: Where to work.
        options: What to measure.

    Raises:
        BenchmarkError: If the study did not come out as its quota says.
    """
    runs = []
    for sampler in options.samplers:
        for workers in options.workers:
            site.note(f"throughput: {workers} workers, sampler {sampler}")
            runs.append(_run(site, options, sampler, workers))
    return Throughput(options, tuple(runs))


def _run(site: Site, options: ThroughputOptions, sampler: str, workers: int) -> Run:
    quota = workers * (1 + options.trials_per_worker)
    kinds = {"learned": quota - quota // 2, "searched": quota // 2}
    pictures = str(options.pictures).lower()
    with site.study(_STUDY.format(epochs=options.epochs, sampler=sampler, pictures=pictures, **kinds)) as study:
        path = site.path(study)
        journal = Journal(path.with_suffix(".jsonl"))
        gate = Gate.of(multiprocessing.get_context("forkserver"), workers)
        orders = [WorkerOrder(path, site.storage, f"worker-{index + 1}", threads=1) for index in range(workers)]
        objective = partial(sleeping_objective, asleep=options.seconds, gate=gate, journal=journal)
        listener = partial(journal_listener, journal=journal)
        status = LocalWorkers(study, orders, listener, site.note, objective).run()
        if status:
            raise KeyboardInterrupt
        check_quota(study, quota)
        return summarise(journal.read(), sampler, workers, options)


def check_quota(study: optuna.Study, quota: int) -> None:
    """Check that every trial was trained and recorded once, and finished by a worker.

    Raises:
        BenchmarkError: If not: then the rate says nothing.
    """
    records = records_of(study)
    trials = study.get_trials(deepcopy=False)
    complete = sorted(trial.number for trial in trials if trial.state is TrialState.COMPLETE)
    recorded = sorted(record.trial for record in records.all("trial")) if records else []
    finished = [job for job in records.jobs.all().values() if job.finished] if records else []
    if not len(trials) == len(complete) == len(finished) == quota or recorded != complete:
        raise BenchmarkError(
            f"of {quota} trials {len(complete)} are complete, {len(recorded)} recorded and {len(finished)} finished, "
            f"{len(trials)} in all; the benchmark is void: run it again on a machine that does nothing else"
        )


def summarise(entries: Sequence[Mapping[str, Any]], sampler: str, workers: int, options: ThroughputOptions) -> Run:
    """Turn a journal into a run.

    Args:
        entries: Its events.
        sampler: The study's sampler.
        workers: N.
        options: What was asked for.
    """
    released = {entry["pid"]: entry for entry in entries if entry["event"] == RELEASED}
    over = [entry for entry in entries if entry["event"] == OVER]
    last = {entry["pid"]: entry for entry in over}
    cpu = sum(last[pid]["cpu"] - entry["cpu"] for pid, entry in released.items() if pid in last)
    trials = workers * options.trials_per_worker
    return Run(
        sampler,
        workers,
        trials,
        max(entry["at"] for entry in over) - min(entry["at"] for entry in released.values()),
        options.trials_per_worker * options.seconds,
        cpu / trials,
    )


@click.command()
@click.option("--workers", type=int, multiple=True, default=ThroughputOptions().workers, help="May be given twice.")
@click.option("--trials-per-worker", type=int, default=ThroughputOptions().trials_per_worker, help="Trials that count.")
@click.option("--seconds", type=float, default=ThroughputOptions().seconds, help="How long a trial sleeps.")
@click.option("--sampler", "samplers", multiple=True, default=ThroughputOptions().samplers, help="May be given twice.")
@click.option("--pictures", is_flag=True, help="Let trials draw their pictures too.")
@storage_option
@json_option
def main(
    workers: tuple[int, ...],
    trials_per_worker: int,
    seconds: float,
    samplers: tuple[str, ...],
    pictures: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Measure which part of the ideal rate workers reach with trials that sleep instead of training."""
    options = ThroughputOptions(workers, trials_per_worker, seconds, samplers=samplers, pictures=pictures)
    run_benchmark(lambda site: measure_throughput(site, options), storage, as_json=as_json)


if __name__ == "__main__":
    main()
