"""``sfgsearch run``: the whole job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click
import optuna
from optuna.trial import TrialState
from rich.console import Console

from sfgsearch.cli._compare import print_comparison
from sfgsearch.cli._options import SEED, Whole, data_option, read_study, storage_option, study_file
from sfgsearch.cli._progress import StudyProgress
from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.search import Objective, create_study, sole_process, study_storage
from sfgsearch.search._queue import FAILURE
from sfgsearch.workers import AWAY, Worker


@click.command()
@study_file
@click.option("--trials", type=Whole(1), metavar="N", help="Trials in all, split over the kinds as the file does.")
@storage_option
@click.option("--seed", type=SEED, metavar="S", help="The study's seed.")
@data_option
def run(study_file: Path, trials: int | None, storage: str | None, seed: int | None, data: Path | None) -> None:
    """Create or continue the study, train and record its trials, and compare the winners.

    Every kind gets its quota of trials. Then the best of each kind are retrained from scratch over several seeds and
    measured, once, on test data. Running it again continues; a finished study reports at once. Ctrl-C finishes the
    epoch first, a second one stops at once; nothing is lost either way.
    """
    config = read_study(study_file, trials=trials, seed=seed, storage=storage, data=data)
    progress = StudyProgress(Console(stderr=True))
    with study_storage(config) as url:
        config = config.with_overrides(storage=url)
        study, status = work_alone(config, progress)
        if status:
            leave(status)
        check_any_succeeded(study, config)
        print_comparison(study, config)


def work_alone(config: Config, progress: StudyProgress) -> tuple[optuna.Study, int]:
    """Be a worker of a study, with progress bars, and return the study and the worker's exit status."""
    objective = Objective(config, on_epoch=progress.trial_epoch)
    for note in objective.experiment.data.notes:
        progress.note(f"{config.path}: {note}")
    with sole_process(config):
        study = create_study(config, objective=objective)
        with progress:
            return study, Worker(study, objective, listener=progress).run()


def leave(status: int) -> NoReturn:
    """End a process that cannot go on or was asked to leave: everything continues from the checkpoint."""
    reason = "the database is away" if status == AWAY else "interrupted"
    click.echo(f"sfgsearch: {reason}; the same command continues", err=True)
    sys.exit(status)


def check_any_succeeded(study: optuna.Study, config: Config) -> None:
    """Raise an error if trials failed and none came to an end."""
    trials = study.get_trials(deepcopy=False)
    reasons = [trial.user_attrs[FAILURE] for trial in trials if FAILURE in trial.user_attrs]
    if reasons and not any(trial.state is TrialState.COMPLETE for trial in trials):
        raise StudyError(f"{config.path}: all {len(reasons)} trials failed; the last one: {reasons[-1]}")
