"""``sfgsearch compare``: the finalists side by side."""

from __future__ import annotations

from pathlib import Path

import click
import optuna

from sfgsearch.cli._console import result_console
from sfgsearch.cli._options import existing_study, json_option, read_study, storage_option, study_file
from sfgsearch.config import Config
from sfgsearch.reporting import Comparison, comparison_tables, search_cost, tests_table, to_json
from sfgsearch.reporting import compare as compare_finalists
from sfgsearch.search import current_finalists


@click.command()
@study_file
@storage_option
@json_option
def compare(study_file: Path, storage: str | None, as_json: bool) -> None:
    """Compare the retrained finalists: test metrics, size, and what the search cost."""
    config = read_study(study_file, storage=storage)
    with existing_study(config) as study:
        if as_json:
            click.echo(to_json(read_comparison(study, config).to_dict()))
        else:
            print_comparison(study, config)


def read_comparison(study: optuna.Study, config: Config) -> Comparison:
    """Return the comparison of a study's finalists as far as they are recorded."""
    return compare_finalists(study.study_name, current_finalists(study, config), study.get_trials(deepcopy=False))


def print_comparison(study: optuna.Study, config: Config) -> None:
    """Print the comparison as a table with its verdicts, or say that there is none yet."""
    comparison = read_comparison(study, config)
    console = result_console()
    if not comparison.rows:
        trials = sum(spent.trials for spent in comparison.spent.values())
        line = f"{comparison.study}: no finalist yet ({trials} trials over); continue with sfgsearch run {config.path}"
        console.print(line, markup=False, soft_wrap=True)
        return
    for table in comparison_tables(comparison, console):
        console.print(table)
    if comparison.tests:
        console.print(tests_table(comparison))
    for line in (search_cost(comparison), *comparison.verdicts()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
