"""``sfgsearch run``: the whole job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from sfgsearch.cli._compare import print_comparison
from sfgsearch.cli._options import data_option, read_study, storage_option, study_file
from sfgsearch.cli._progress import StudyProgress
from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.search import (
    Objective,
    create_study,
    enqueue_missing,
    missing_finalists,
    records_of,
    retrain_finalists,
    waiting_trials,
)
from sfgsearch.search._queue import FAILURE, fail_running
from sfgsearch.search._study import is_single_process, sqlite_file


@click.command()
@study_file
@click.option("--trials", type=int, metavar="N", help="Trials in all, split over the kinds as the file does.")
@storage_option
@click.option("--seed", type=int, metavar="S", help="The study's seed.")
@data_option
def run(study_file: Path, trials: int | None, storage: str | None, seed: int | None, data: Path | None) -> None:
    """Create or continue the study, train and record its trials, and compare the winners.

    Every kind gets its quota of trials. Then the best of each kind are retrained from scratch over several seeds and
    measured, once, on test data. Running it again continues; a finished study reports at once.
    """
    config = read_study(study_file, trials=trials, seed=seed, storage=storage, data=data)
    console = Console(stderr=True)
    progress = StudyProgress(console)
    objective = Objective(config, on_epoch=progress.trial_epoch)
    for note in objective.experiment.data.notes:
        progress.note(f"{config.path}: {note}")
    with _sole_process(config):
        study = create_study(config, objective=objective)
        if is_single_process(study) and fail_running(study):
            enqueue_missing(study, config)  # what an earlier process left unfinished
        with progress:
            _run_trials(study, objective, progress)
            _run_finalists(study, objective, progress)
    _check_any_succeeded(study, config)
    print_comparison(study, config)


def _check_any_succeeded(study: optuna.Study, config: Config) -> None:
    """Raise an error if trials failed and none came to an end."""
    trials = study.get_trials(deepcopy=False)
    reasons = [trial.user_attrs[FAILURE] for trial in trials if FAILURE in trial.user_attrs]
    if reasons and not any(trial.state is TrialState.COMPLETE for trial in trials):
        raise StudyError(f"{config.path}: all {len(reasons)} trials failed; the last one: {reasons[-1]}")


@contextmanager
def _sole_process(config: Config) -> Iterator[None]:
    """Keep a second process off a SQLite database, whose running trials would be taken for left-overs.

    Raises:
        StudyError: If another process runs the study.
    """
    database = sqlite_file(config.storage)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{database}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StudyError(
            f"{config.path}: another process runs a study in {database}; wait for it or stop it"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _run_trials(study: optuna.Study, objective: Objective, progress: StudyProgress) -> None:
    waiting = waiting_trials(study)
    if not waiting:
        return
    progress.begin("trials", waiting, objective.config.training.epochs)

    def report(_study: optuna.Study, trial: FrozenTrial) -> None:
        progress.end_item(_describe(trial))

    study.optimize(objective, n_trials=waiting, callbacks=[report], catch=(Exception,))


def _describe(trial: FrozenTrial) -> str:
    name = trial.user_attrs.get("name", "?")
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    if trial.state is TrialState.COMPLETE:
        outcome = f"relative error {100 * trial.user_attrs['relative_error']:.2f} %"
    elif trial.state is TrialState.PRUNED:
        outcome = f"pruned after {trial.user_attrs['pruned_after_epochs']} epochs"
    else:
        outcome = f"failed: {trial.user_attrs.get(FAILURE, 'interrupted')}"
    return f"trial {trial.number:>3}  {name:<24} {outcome}  ({seconds:.0f} s)"


def _run_finalists(study: optuna.Study, objective: Objective, progress: StudyProgress) -> None:
    records, finalists = records_of(study), missing_finalists(study, objective.config)
    if records is None or not finalists:
        return
    progress.begin("finalists", len(finalists), objective.config.training.epochs)
    retrain_finalists(
        objective,
        records,
        finalists,
        on_epoch=progress.finalist_epoch,
        on_failure=lambda finalist, reason: progress.note(f"{finalist.name}, seed {finalist.seed} failed: {reason}"),
        study=study,
    )
