"""``sfgsearch run``: the whole job."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
import optuna
from rich.console import Console

from sfgsearch.cli._compare import print_comparison
from sfgsearch.cli._options import SEED, Whole, data_option, read_study, retry_option, storage_option, study_file
from sfgsearch.cli._progress import StudyProgress
from sfgsearch.comparison import Comparison
from sfgsearch.comparison._progress import retry_failed as retry_failed_again
from sfgsearch.config import Config
from sfgsearch.reporting import Objective
from sfgsearch.search import create_study, sole_process, study_storage
from sfgsearch.storage import is_embedded, retry_on_outage
from sfgsearch.workers import AWAY, Worker

MISSING = 1
"""Exit status where something that the study asks for is not there."""


@click.command()
@study_file
@click.option("--trials", type=Whole(1), metavar="N", help="Trials in all, split over the kinds as the file does.")
@storage_option
@click.option("--seed", type=SEED, metavar="S", help="The study's seed.")
@data_option
@retry_option
def run(
    study_file: Path,
    trials: int | None,
    storage: str | None,
    seed: int | None,
    data: Path | None,
    retry_failed: bool,
) -> None:
    """Create or continue the study, train and record its trials, and compare the winners.

    Every kind gets its quota of trials. Then the best of each kind are retrained from scratch over several seeds and
    measured, once, on test data. Running it again continues; a finished study reports at once. Ctrl-C finishes the
    epoch first, a second one stops at once; nothing is lost either way.

    Exit status: 0 if everything that the study asks for is there; 1 if something failed for good and is missing, which
    is named with its reason; 2 for bad input; 75 if the database went away; 130 or 143 if interrupted.
    """
    config = read_study(study_file, trials=trials, seed=seed, storage=storage, data=data)
    progress = StudyProgress(Console(stderr=True))
    with study_storage(config) as url:
        config = config.with_overrides(storage=url)
        study, status = work_alone(config, progress, retry=retry_failed)
        if status:
            leave(status)
        end_with(print_comparison(study, config))


def work_alone(config: Config, progress: StudyProgress, *, retry: bool = False) -> tuple[optuna.Study, int]:
    """Be a worker of a study, with progress bars, and return the study and the worker's exit status.

    Args:
        config: The study file.
        progress: Shows how far it is.
        retry: Whether to give what failed for good another chance.
    """
    objective = Objective(config, [progress])
    with sole_process(config):
        study = open_study(config, objective, progress.note, retry=retry)
        with progress:
            return study, Worker(study, objective, listener=progress).run()


def open_study(
    config: Config, objective: Objective, note: Callable[[str], None], *, join: bool = False, retry: bool = False
) -> optuna.Study:
    """Create or continue a study, and note what a user should know of its data and network before it trains.

    Args:
        config: The study file.
        objective: The study's objective.
        note: Takes the sentences.
        join: Whether to keep to the plan that the study was last told.
        retry: Whether to give what failed for good another chance.
    """
    create = partial(create_study, config, objective=objective, join=join, enqueue=False, note=note)
    study = retry_on_outage(create) if is_embedded(config.storage) else create()
    for sentence in (*objective.experiment.data.summary, *objective.notes):
        note(f"{config.path}: {sentence}")
    if retry:
        note(retry_missing(study, config))
    return study


def leave(status: int) -> NoReturn:
    """End a process that cannot go on or was asked to leave: everything continues from the checkpoint."""
    reason = "the database is away" if status == AWAY else "interrupted"
    click.echo(f"sfgsearch: {reason}; the same command continues", err=True)
    sys.exit(status)


def retry_missing(study: optuna.Study, config: Config) -> str:
    """Give what failed for good another chance, and return a line about it."""
    number = retry_failed_again(study, config)
    return f"trying again what failed for good: {number} training{'' if number == 1 else 's'}"


def end_with(comparison: Comparison) -> None:
    """End the process with status 1 where something that the study asks for is not there."""
    shortfall, missing = comparison.shortfall, len(comparison.shortfall.missing)
    if missing:
        what = "1 training that the study asks for is" if missing == 1 else f"{missing} trainings of the study are"
        again = any(one.may_be_retried for one in shortfall.missing)
        remedy = "; the same command with --retry-failed tries again" if again else ""
        click.echo(f"sfgsearch: {what} missing for good{remedy}", err=True)
    elif shortfall.is_unfinished:  # such as when all workers were asked to leave
        click.echo(f"sfgsearch: not there yet: {shortfall.not_there_yet}; the same command continues", err=True)
    if missing or shortfall.is_unfinished:
        sys.exit(MISSING)
