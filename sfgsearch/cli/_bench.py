"""``sfgsearch bench``: what training costs with a study's network and data on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import optuna

from sfgsearch.bench import Costs, measure_costs, searched
from sfgsearch.cli._console import print_tables, result_console
from sfgsearch.cli._options import Number, data_option, json_option, read_study, study_file
from sfgsearch.config import Config, build_experiment
from sfgsearch.config._build import manual_makers
from sfgsearch.methods import Method, StochasticFilterGroups
from sfgsearch.nn import NetworkSpec
from sfgsearch.reporting import Column, Table, to_json
from sfgsearch.search._space import suggest_learned
from sfgsearch.training import Experiment

_MOST_TASKS = 1000


def _numbers(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int | None, ...]:
    """Read whole numbers that are separated by commas."""
    if value is None:
        return (None,)
    try:
        numbers = tuple(int(part if part.isascii() else "") for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or max(numbers) > _MOST_TASKS:
        raise click.BadParameter(f"{value!r} is not a list such as 1,2,4 of numbers from 1 to {_MOST_TASKS}")
    return numbers


@click.command()
@study_file
@click.option("--tasks", callback=_numbers, metavar="N,...", help="Repeat with other numbers of tasks.")
@click.option(
    "--seconds",
    type=Number(0, 3600, min_open=True),
    metavar="S",
    default=3.0,
    help="How long every method is measured.",
)
@data_option
@json_option
def bench(study_file: Path, tasks: tuple[int | None, ...], seconds: float, data: Path | None, as_json: bool) -> None:
    """Measure what training costs with this study's network and data on this machine.

    Training steps of all methods of the study, and of hard sharing, are taken by turns, on one batch. Ratios are to
    hard sharing in the same run. Times of trials and of the study are estimates from steps alone.
    """
    config = read_study(study_file, data=data)
    experiment = build_experiment(config)
    makers = {**manual_makers(config), **_searches(config)}
    costs = measure_costs(experiment, makers, tasks, seconds)
    if as_json:
        click.echo(to_json(costs.to_dict()))
        return
    console = result_console()
    print_tables(console, [_table(costs, experiment)])
    for line in (*experiment.notes, *costs.notes, *_estimate(costs, config, experiment)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _searches(config: Config) -> dict[str, Callable[[NetworkSpec], Method]]:
    """Return what makes the learned and searched method, where the study has such trials."""
    found: dict[str, Callable[[NetworkSpec], Method]] = {}
    if config.quota.learned:
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
        settings = suggest_learned(trial, config.learned)
        found["learned"] = lambda _spec: StochasticFilterGroups(settings)
    if config.quota.searched or config.quota.refined:
        found["searched"] = searched
    return found


def _table(costs: Costs, experiment: Experiment) -> Table:
    rows = [
        (
            row.method,
            str(row.tasks),
            f"{row.ms:.1f}",
            f"{row.ratio:.2f}",
            f"{row.macs:,}",
            f"{row.peak_bytes / 2**20:,.0f}",
            f"{row.ms * _steps(experiment) / 60_000:.1f}",
        )
        for row in costs.rows
    ]
    numbers = ("tasks", "ms", "ratio", "multiply-adds")
    columns = [Column("method", is_text=True), *map(Column, numbers), Column("memory", "MiB"), Column("trial", "min")]
    return Table("One training step", columns, rows)


def _steps(experiment: Experiment) -> int:
    """Return the steps of a training."""
    per_epoch = -(-len(experiment.data.train) // experiment.settings.batch_size)
    return per_epoch * experiment.settings.epochs


def _estimate(costs: Costs, config: Config, experiment: Experiment) -> Iterator[str]:
    """Yield a sentence about the time of the whole study, for its own tasks."""
    own = {row.method: row.ms for row in costs.rows if row.tasks == len(experiment.spec.tasks)}
    budget, finalists = config.budget, config.finalists
    names: Sequence[str] = [name for name in config.manual.names if name in own]
    own |= {"refined": own["searched"]} if "searched" in own else {}
    wanted = {kind for kind in ("learned", "searched", "refined") if budget[kind]}
    if not wanted <= set(own) or len(names) < len(config.manual.names):
        return
    manual = sum(own[name] for name in names)
    trials = manual + sum(budget[kind] * own[kind] for kind in wanted)
    # Learned and searched finalists are retrained with their allocation, and learned ones learned again.
    again = manual * finalists["manual"] / max(len(names), 1)
    again += sum(finalists[kind] * own.get("searched", own.get(kind, 0.0)) for kind in wanted)
    again += finalists["learned"] * own.get("learned", 0.0) * config.comparison.as_learned
    # Those at equal multiply-adds cost as much as hard sharing, and so do controls.
    matched = sum(finalists.values()) + 2 * finalists["learned"] * config.comparison.controls
    again += matched * own.get("hard_sharing", 0.0) * (config.comparison.match == "macs")
    minutes = (trials + config.comparison.seeds * again) * _steps(experiment) / 60_000
    yield f"All trials and finalists, one after another: about {minutes:.0f} minutes of training steps."
