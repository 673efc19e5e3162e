"""Overhead: how much longer a training takes as the trial of a worker."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import RenderableType

from sfgsearch.comparison._statistics import Interval, interval
from tests.benchmarks.pair import Timing, Work, run_pair, train_as_trial, train_bare
from tests.benchmarks.result import Goal, json_option, new_table, run_benchmark, storage_option
from tests.benchmarks.site import Site

GOAL = 0.02
"""Of a training's time."""

_CALIBRATION_EPOCHS = 4

_STUDY = """
[data]
name = "digit_pairs"

[backbone]
name = "vgg_small"
plan = [16, "pool", 32, 32, 64]

[training]
epochs = {epochs}
lr = 1e-2
device = "cpu"
threads = 1

[quota]
learned = 1
searched = 0

[manual]
methods = []

[learned]
lr = {{ low = 0.02, high = 0.1, log = true }}
kl_weight = {{ low = 0.1, high = 2.0, log = true }}

[learned.temperature]
schedule = ["exponential", "linear", "cosine"]
start = {{ low = 1.0, high = 3.0 }}
end = {{ low = 0.1, high = 0.5, log = true }}

[comparison]
seeds = 1
learned = 0
"""


@dataclass(frozen=True)
class OverheadOptions:
    """What is measured.

    Args:
        seconds: About how long a training takes.
        pairs: How often it is trained bare and as a trial.
    """

    seconds: float = 60.0
    pairs: int = 4


@dataclass(frozen=True)
class Pair:
    """One training, twice.

    Args:
        bare: By itself.
        trial: As the trial of a worker.
    """

    bare: Timing
    trial: Timing

    @property
    def wall_ratio(self) -> float:
        """Wall-clock time of the trial as a multiple of the bare training's."""
        return self.trial.seconds / self.bare.seconds

    @property
    def cpu_ratio(self) -> float:
        """CPU time likewise, without the database."""
        return self.trial.cpu_seconds / self.bare.cpu_seconds

    @property
    def accounted(self) -> float:
        """Time of the trial's main thread outside of training, as a part of its time within."""
        outside = sum(self.trial.shares.values())
        return outside / (self.trial.seconds - outside)

    @property
    def is_same(self) -> bool:
        """Whether both came to the same network, bit for bit as far as its score shows."""
        return self.bare.score == self.trial.score

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        ratios = {"wall_ratio": self.wall_ratio, "cpu_ratio": self.cpu_ratio, "accounted": self.accounted}
        sides = {"bare_seconds": self.bare.seconds, "trial_seconds": self.trial.seconds, "same_score": self.is_same}
        return {**sides, **ratios, "shares": self.trial.shares}


@dataclass(frozen=True)
class Overhead:
    """What the harness adds to a training.

    Args:
        options: What was asked for.
        epochs: Epochs of the training.
        pairs: What was measured.
    """

    options: OverheadOptions
    epochs: int
    pairs: tuple[Pair, ...]

    @property
    def wall(self) -> Interval:
        """What it adds in wall-clock time: geometric mean over pairs minus 1, with its 95 % interval."""
        return added([pair.wall_ratio for pair in self.pairs])

    @property
    def cpu(self) -> Interval:
        """What it adds in CPU time, likewise."""
        return added([pair.cpu_ratio for pair in self.pairs])

    @property
    def accounted(self) -> float:
        """Mean part of the time that is spent outside of training by the trial's own clock."""
        return sum(pair.accounted for pair in self.pairs) / len(self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "goal": GOAL,
            **asdict(self.options),
            "epochs": self.epochs,
            "added_wall": asdict(self.wall),
            "added_cpu": asdict(self.cpu),
            "accounted": self.accounted,
            "pairs": [pair.to_dict() for pair in self.pairs],
        }

    def tables(self) -> Iterator[RenderableType]:
        """Yield the pairs, and where the trial's time goes."""
        title = f"overhead: one training of {self.epochs} epochs, bare and as a trial at the same time"
        table = new_table(title, "pair", "bare s", "trial s", "wall ratio", "CPU ratio", "accounted", "same score")
        for number, pair in enumerate(self.pairs, 1):
            seconds = (f"{pair.bare.seconds:.2f}", f"{pair.trial.seconds:.2f}")
            ratios = (f"{pair.wall_ratio:.4f}", f"{pair.cpu_ratio:.4f}", f"{1 + pair.accounted:.4f}")
            table.add_row(str(number), *seconds, *ratios, "yes" if pair.is_same else "NO")
        yield table
        parts = new_table("of the trial's main thread, outside of training", "what", "s", "of training")
        for what in self.pairs[0].trial.shares:
            spent = [pair.trial.shares[what] for pair in self.pairs]
            trained = [pair.trial.seconds - sum(pair.trial.shares.values()) for pair in self.pairs]
            parts.add_row(what, f"{sum(spent) / len(spent):.3f}", f"{100 * sum(spent) / sum(trained):.2f} %")
        yield parts

    def goals(self) -> Sequence[Goal]:
        """Return what it adds to wall-clock time and CPU time, and what its own clock says."""
        what = f"{self.options.seconds:g} s trial, the harness adds"
        return [
            _goal(f"{what} to wall time", self.wall),
            _goal(f"{what} to CPU time", self.cpu),
            _goal(f"{what} by the clock inside the trial", Interval(*[self.accounted] * 3)),
        ]


def _goal(what: str, interval_: Interval) -> Goal:
    """Compare an interval with the goal; one that holds the goal decides nothing."""
    is_met = None if interval_.low < GOAL <= interval_.high else interval_.high < GOAL
    spread = ""
    if interval_.half_width:
        spread = f" (95 % interval {100 * interval_.low:+.2f} to {100 * interval_.high:+.2f} %)"
    line = f"{what}: {100 * interval_.mean:+.2f} %{spread} (goal below {100 * GOAL:g} %)"
    return Goal(line, interval_.mean, GOAL, is_met)


def added(ratios: Sequence[float]) -> Interval:
    """Return the geometric mean of ratios minus 1, with Student's 95 % interval on the logarithms.

    Args:
        ratios: One per pair, at least one.
    """
    logarithms = interval([math.log(ratio) for ratio in ratios])
    return Interval(*(math.expm1(value) for value in (logarithms.mean, logarithms.low, logarithms.high)))


def measure_overhead(site: Site, options: OverheadOptions) -> Overhead:
    """Train the same network bare and as a trial, at the same time, several times.

    Inside the trial's time: its claim, suggestions, epoch reports, pruner, signs of life by a thread, checkpoints every
    ``execution.checkpoint_every`` seconds, attributes, artifacts, the record, telling Optuna, finishing the job and
    the check that the quota is met. In both: building the network, the epochs with their validation, the final
    evaluation and Monte-Carlo prediction. In neither: the start of processes, imports, data and opening the study, and
    what a process does for the first time, for each has done one epoch in the same way before. The database works on
    whatever core is free.

    Args:
        site: Where to work.
        options: What to measure.

    Raises:
        BenchmarkError: If a training fails.
    """
    site.note("overhead: how long an epoch takes")
    warm_up = site.write(_STUDY.format(epochs=1))
    trial_run = run_pair(Work(site.write(_STUDY.format(epochs=_CALIBRATION_EPOCHS)), warm_up, ""), [train_bare] * 2)
    epochs = calibrate(trial_run, options.seconds)
    pairs = []
    for number in range(1, options.pairs + 1):
        site.note(f"overhead: pair {number} of {options.pairs}, {epochs} epochs")
        with site.study(_STUDY.format(epochs=1)) as warm_up_study, site.study(_STUDY.format(epochs=epochs)) as study:
            work = Work(site.path(study), site.path(warm_up_study), site.storage)
            bare, trial = run_pair(work, [train_bare, train_as_trial])
        pairs.append(Pair(bare, trial))
    return Overhead(options, epochs, tuple(pairs))


@click.command()
@click.option("--seconds", type=float, default=OverheadOptions().seconds, help="About how long a training takes.")
@click.option(
    "--pairs", type=int, default=OverheadOptions().pairs, help="How often it is trained, bare and as a trial."
)
@storage_option
@json_option
def main(seconds: float, pairs: int, storage: str | None, as_json: bool) -> None:
    """Measure what the harness adds to a training of a minute, as a ratio of times taken in the same run."""
    options = OverheadOptions(seconds, pairs)
    run_benchmark(lambda site: measure_overhead(site, options), storage, as_json=as_json)


def calibrate(timings: Sequence[Timing], seconds: float) -> int:
    """Return how many epochs take so many seconds, at least one.

    Args:
        timings: Of short bare trainings; the first epoch counts as all others, what surrounds epochs by itself.
        seconds: How long the training shall take.
    """
    epoch = sum((t.epoch_ends[-1] - t.epoch_ends[0]) / (len(t.epoch_ends) - 1) for t in timings) / len(timings)
    around = sum(t.seconds for t in timings) / len(timings) - epoch * len(timings[0].epoch_ends)
    return max(round((seconds - around) / epoch), 1)


if __name__ == "__main__":
    main()
