"""``sfgsearch show``: one trial's architecture."""

from __future__ import annotations

from pathlib import Path

import click
import optuna
from optuna.trial import FrozenTrial

from sfgsearch.cli._console import print_tables, result_console
from sfgsearch.cli._options import (
    Whole,
    existing_study,
    json_option,
    read_study,
    storage_option,
    study_file,
)
from sfgsearch.errors import StudyError
from sfgsearch.records import ArchitectureRecord
from sfgsearch.reporting import describe_trial, to_json, trial_tables
from sfgsearch.search import records_of
from sfgsearch.search._queue import FAILURE


@click.command()
@study_file
@click.option("--trial", "number", type=Whole(0), metavar="N", required=True, help="The trial's number.")
@click.option(
    "--layers",
    "path",
    metavar="PATH",
    help="Show the layers of a stage or module one by one, or of all; without it, large networks are shown by stage.",
)
@storage_option
@json_option
def show(study_file: Path, number: int, path: str | None, storage: str | None, as_json: bool) -> None:
    """Show one trial: allocation by layer, probabilities, metrics and parameters."""
    with existing_study(read_study(study_file, storage=storage)) as study:
        trial, record = find_trial(study, number)
    description = describe_trial(trial, record)
    if as_json:
        click.echo(to_json(description))
        return
    console = result_console()
    print_tables(console, trial_tables(description, record, "" if path == "all" else path))
    if description["repairs"]:
        console.print(f"repaired: {description['repairs']}", markup=False, highlight=False, soft_wrap=True)


def find_trial(study: optuna.Study, number: int) -> tuple[FrozenTrial, ArchitectureRecord]:
    """Return a trial and its record.

    Raises:
        StudyError: If there is no such trial, or it recorded no architecture.
    """
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    if number not in trials:
        last = f"0 to {max(trials)}" if trials else "none yet"
        raise StudyError(f"--trial {number}: the study {study.study_name!r} has no such trial; its trials: {last}")
    trial, records = trials[number], records_of(study)
    found = records.all("trial", number) if records else []
    if not found:
        reason = trial.user_attrs.get(FAILURE)
        raise StudyError(
            f"--trial {number}: recorded no architecture, its state is {trial.state.name}"
            f"{f' ({reason})' if reason else ''}; choose a trial that is COMPLETE"
        )
    return trial, found[0]
