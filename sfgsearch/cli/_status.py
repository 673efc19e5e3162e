"""``sfgsearch status``: how far a study is."""

from __future__ import annotations

from pathlib import Path

import click

from sfgsearch.cli._console import print_tables, result_console
from sfgsearch.cli._options import existing_study, json_option, read_study, storage_option, study_file
from sfgsearch.comparison import read_status
from sfgsearch.reporting import status_summary, status_tables, to_json


@click.command()
@study_file
@storage_option
@json_option
def status(study_file: Path, storage: str | None, as_json: bool) -> None:
    """Show how far a study is: quotas, running trials and their workers, failures, and the time left."""
    config = read_study(study_file, storage=storage)
    with existing_study(config) as study:
        now = read_status(study, config)
    if as_json:
        click.echo(to_json(now.to_dict()))
        return
    console = result_console()
    print_tables(console, status_tables(now))
    console.print(status_summary(now), highlight=False, markup=False, soft_wrap=True)
