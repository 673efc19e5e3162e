"""Selection: does the score by which a learned trial is judged rank what its allocation comes to when retrained?

Settings are drawn from a study file's own ranges. Every allocation that they lead to is retrained from scratch over
seeds with a split of the data each, as finalists are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import click
import optuna
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from sfgsearch import load_config
from sfgsearch.config import Config, build_experiment
from sfgsearch.methods import FixedAllocation, StochasticFilterGroups
from sfgsearch.reporting import to_json
from sfgsearch.search._space import suggest_learned
from tests.benchmarks.result import json_option, new_table


@dataclass(frozen=True)
class Row:
    """One learned trial.

    Args:
        score: Relative error of the settled derived network on validation data, by which trials are judged.
        derived: That on test data.
        retrained: Relative error of its allocation on test data, retrained with every seed.
    """

    score: float
    derived: float
    retrained: tuple[float, ...]


def measure(config: Config, trials: int, seeds: int) -> Iterator[Row]:
    """Train and retrain random trials.

    Args:
        config: The study.
        trials: How many.
        seeds: Retrainings of each.
    """
    experiments = [build_experiment(config.with_overrides(seed=config.study.seed + add)) for add in range(seeds + 1)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=config.study.seed))
    for number in range(trials):
        method = StochasticFilterGroups(suggest_learned(study.ask(), config.learned))
        learned = experiments[0].train(method, number, splits=("validation", "test"))
        assignments = learned.system.structure().details["assignments"]
        fixed = FixedAllocation(learned.system.allocation(), repair=True, assignments=assignments)
        again = [one.train(fixed, seed, splits=("test",)) for seed, one in enumerate(experiments[1:], 1)]
        retrained = tuple(trained.scores["test"] for trained in again)
        yield Row(learned.scores["validation"], learned.scores["test"], retrained)


def rank_correlation(rows: list[Row]) -> float:
    """Return Spearman's correlation between the scores of trials and the mean errors of their retrained allocations."""
    return float(spearmanr([row.score for row in rows], [fmean(row.retrained) for row in rows]).statistic)


def table(rows: list[Row]) -> Table:
    """Return the trials, best score first, in %."""
    found = new_table("relative error, %", "score (validation)", "derived (test)", "retrained (test)")
    for row in sorted(rows, key=lambda row: row.score):
        found.add_row(*(f"{100 * value:.1f}" for value in (row.score, row.derived, fmean(row.retrained))))
    return found


@click.command()
@click.argument("study_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trials", type=click.IntRange(3), default=8, show_default=True, help="Learned trials.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Retrainings of each.")
@json_option
def main(study_file: Path, trials: int, seeds: int, as_json: bool) -> None:
    """Tell how well the score of learned trials ranks their retrained allocations."""
    rows = []
    for row in measure(load_config(study_file), trials, seeds):
        rows.append(row)
        click.echo(f"trial {len(rows)}: score {row.score:.4f}, retrained {fmean(row.retrained):.4f}", err=True)
    if as_json:
        click.echo(to_json({"rows": [asdict(row) for row in rows], "rank_correlation": rank_correlation(rows)}))
        return
    console = Console()
    console.print(table(rows), highlight=False)
    console.print(f"rank correlation (Spearman) over {trials} trials: {rank_correlation(rows):+.2f}", highlight=False)


if __name__ == "__main__":
    main()
