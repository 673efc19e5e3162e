"""``sfgsearch compare``: the finalists side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import optuna

from sfgsearch.cli._console import print_tables, result_console
from sfgsearch.cli._options import existing_study, json_option, read_study, storage_option, study_file
from sfgsearch.comparison import Comparison, read_comparison
from sfgsearch.config import Config
from sfgsearch.reporting import comparison_tables, tests_table, to_json
from sfgsearch.reporting._report import check_report_path, write_report
from sfgsearch.reporting._study_review import read_report
from sfgsearch.storage import retry_on_outage


@click.command()
@study_file
@storage_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report too: .html, one page that opens without a network, or .md with pictures beside it.",
)
@json_option
def compare(study_file: Path, storage: str | None, output: Path | None, as_json: bool) -> None:
    """Compare the retrained finalists: test metrics, size, and what the search cost.

    What failed for good is named with its reason, and so is what is not there yet. With --output the same comparison
    is also written as a report, with figures and with the settings to do it again.
    """
    if output is not None:
        check_report_path(output)
    config = read_study(study_file, storage=storage)
    with existing_study(config) as study:
        if as_json:
            click.echo(to_json(read_comparison(study, config).to_dict()))
        else:
            print_comparison(study, config)
        if output is not None:
            files = write_report(read_report(study, config), output)
            click.echo(f"wrote {files[0]}" + (f" and {len(files) - 1} pictures" if files[1:] else ""), err=True)


def print_comparison(study: optuna.Study, config: Config) -> Comparison:
    """Print the comparison as a table with its verdicts, or say that there is none, and what is missing from it."""
    comparison = retry_on_outage(lambda: read_comparison(study, config))
    console = result_console()
    if comparison.rows:
        print_tables(console, comparison_tables(comparison))
        if comparison.tests:
            print_tables(console, [tests_table(comparison)])
        spent = ", ".join(comparison.costs(lambda seconds: f"{seconds:.0f} s"))
        lines = [f"Search: {spent}.", *comparison.verdicts()]
    else:
        lines = [_no_finalist(comparison)]
    for line in (*lines, *_shortfall(comparison, config)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return comparison


def _no_finalist(comparison: Comparison) -> str:
    over = sum(spent.trials for spent in comparison.spent.values())
    yet = " yet" if comparison.shortfall.is_unfinished else ""
    return f"{comparison.study}: no finalist{yet} ({over} trial{'' if over == 1 else 's'} over)"


def _shortfall(comparison: Comparison, config: Config) -> Iterator[str]:
    """Yield lines about what is not there yet, and about what is missing for good."""
    shortfall = comparison.shortfall
    if shortfall.is_unfinished:
        yield f"Not there yet: {shortfall.not_there_yet}; continue with sfgsearch run {config.path}"
    if shortfall.missing:
        again = any(one.may_be_retried for one in shortfall.missing)
        yield f"Missing for good{' (run --retry-failed gives what failed another chance)' if again else ''}:"
    for one in shortfall.missing:
        yield f"  {one}"
