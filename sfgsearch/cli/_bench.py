"""``sfgsearch bench``: what the harness around trainings costs."""

from __future__ import annotations

import click
from rich.markup import escape

from sfgsearch.bench import (
    BENCHMARKS,
    BenchmarkOptions,
    Machine,
    OverheadOptions,
    Result,
    ThroughputOptions,
    open_site,
)
from sfgsearch.cli._console import result_console
from sfgsearch.cli._options import Number, Whole, json_option
from sfgsearch.reporting import to_json

_MOST_WORKERS = 100


def _numbers(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    """Read whole numbers that are separated by commas."""
    try:
        numbers = tuple(int(part if part.isascii() else "") for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or max(numbers) > _MOST_WORKERS:
        raise click.BadParameter(f"{value!r} is not a list such as 1,4,16 of numbers from 1 to {_MOST_WORKERS}")
    return numbers


_THROUGHPUT, _OVERHEAD = ThroughputOptions(), OverheadOptions()
_seconds = Number(0, 86_400, min_open=True)


@click.command()
@click.argument("names", nargs=-1, metavar="[throughput] [overhead]", type=click.Choice(list(BENCHMARKS)))
@click.option(
    "--workers",
    callback=_numbers,
    metavar="N,...",
    default=",".join(map(str, _THROUGHPUT.workers)),
    help="throughput: numbers of workers.",
)
@click.option(
    "--trials-per-worker",
    type=Whole(1, 100_000),
    metavar="N",
    default=_THROUGHPUT.trials_per_worker,
    help="throughput: trials that count.",
)
@click.option(
    "--seconds", type=_seconds, metavar="S", default=_THROUGHPUT.seconds, help="throughput: how long a trial sleeps."
)
@click.option(
    "--sampler",
    "samplers",
    multiple=True,
    type=click.Choice(_THROUGHPUT.samplers),
    default=_THROUGHPUT.samplers,
    help="throughput: one sampler instead of both; may be given twice.",
)
@click.option("--pictures", is_flag=True, help="throughput: let trials draw their pictures too.")
@click.option(
    "--training-seconds",
    type=_seconds,
    metavar="S",
    default=_OVERHEAD.seconds,
    help="overhead: about how long a training takes.",
)
@click.option(
    "--pairs",
    type=Whole(1, 100_000),
    metavar="N",
    default=_OVERHEAD.pairs,
    help="overhead: how often it is trained, bare and as a trial.",
)
@click.option(
    "--storage",
    metavar="URL",
    envvar="SFGSEARCH_STORAGE",
    help="A PostgreSQL or MySQL server instead of a PostgreSQL of its own (extra embedded). Nothing stays there.",
)
@json_option
def bench(
    names: tuple[str, ...],
    workers: tuple[int, ...],
    trials_per_worker: int,
    seconds: float,
    samplers: tuple[str, ...],
    pictures: bool,
    training_seconds: float,
    pairs: int,
    storage: str | None,
    as_json: bool,
) -> None:
    """Measure what the harness costs, all benchmarks or those named; about ten minutes.

    throughput: which part of the ideal rate workers reach with trials that sleep instead of training (goal 0.90).
    overhead: what the harness adds to a training of a minute (goal below 2 %). All are ratios of times that were
    taken in the same run. A goal that is missed is said, and is no error.
    """
    options = BenchmarkOptions(
        ThroughputOptions(workers, trials_per_worker, seconds, samplers=samplers, pictures=pictures),
        OverheadOptions(training_seconds, pairs),
    )
    machine = Machine.now()
    with open_site(storage, lambda line: click.echo(f"bench: {line}", err=True)) as site:
        results = {name: BENCHMARKS[name](site, options) for name in names or BENCHMARKS}
        database = site.database
    if as_json:
        found = {name: result.to_dict() | {"goals": _goals(result)} for name, result in results.items()}
        click.echo(to_json({"machine": machine.to_dict(), "database": database, **found}))
        return
    console = result_console()
    console.print(escape(f"{machine}; {database}"), highlight=False)
    for result in results.values():
        for table in result.tables():
            console.print(table)
        for goal in result.goals():
            console.print(escape(str(goal)), highlight=False)
        console.print()


def _goals(result: Result) -> list[dict[str, object]]:
    return [{"line": str(goal), "ratio": goal.ratio, "goal": goal.goal, "met": goal.is_met} for goal in result.goals()]
