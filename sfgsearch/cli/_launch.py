"""``sfgsearch launch``: many workers with one command."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click
import torch

from sfgsearch.cli._compare import print_comparison
from sfgsearch.cli._options import data_option, read_study, storage_option, study_file
from sfgsearch.cli._progress import LineListener
from sfgsearch.cli._run import check_any_succeeded, leave
from sfgsearch.config import Config
from sfgsearch.search import Objective, create_study, sole_process, study_storage
from sfgsearch.workers import LocalWorkers, WorkerOrder, share_devices


@click.command()
@study_file
@click.option("--workers", type=click.IntRange(1, 1000), metavar="N", required=True, help="How many.")
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True, help="Processes here.")
@click.option("--trials", type=int, metavar="N", help="Trials in all, split over the kinds as the file does.")
@storage_option
@click.option("--seed", type=int, metavar="S", help="The study's seed.")
@data_option
@click.option("--gpus-per-worker", type=float, metavar="X", help="Part of a GPU that a worker needs, such as 0.25.")
@click.option("--cpus-per-worker", type=float, metavar="X", help="CPU cores of a worker.")
def launch(
    study_file: Path,
    workers: int,
    engine: str,
    trials: int | None,
    storage: str | None,
    seed: int | None,
    data: Path | None,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
) -> None:
    """Train a study with N workers, and compare the winners.

    Without a database server in the study file or --storage, several workers share a PostgreSQL that keeps its data in
    the study's folder and stops with them. Workers that die are started again; what they were at goes on from its
    checkpoint. Ctrl-C lets all finish their epoch, a second one stops them at once.
    """
    del engine  # there is one
    config = read_study(study_file, trials=trials, seed=seed, storage=storage, data=data)
    listener = LineListener("launch")
    with study_storage(config, parallel=workers > 1) as url:
        config = config.with_overrides(storage=url)
        objective = Objective(config)
        for note in objective.experiment.data.notes:
            listener.note(f"{config.path}: {note}")
        order = WorkerOrder(study_file.absolute(), url, "", seed=seed, data=data)
        orders = _orders(config, order, workers, gpus_per_worker, cpus_per_worker)
        with sole_process(config):
            study = create_study(config, objective=objective)
            del objective  # the workers load the data for themselves
            status = LocalWorkers(study, orders, LineListener, listener.note).run()
        if status:
            leave(status)
        check_any_succeeded(study, config)
        print_comparison(study, config)


def _orders(
    config: Config, order: WorkerOrder, workers: int, gpus_per_worker: float | None, cpus_per_worker: float | None
) -> list[WorkerOrder]:
    """Return what every local worker is told."""
    gpus = torch.cuda.device_count() if config.training.device in ("auto", "cuda") else 0
    cores = cpus_per_worker or len(os.sched_getaffinity(0)) / workers
    return [
        replace(order, name=f"worker-{index + 1}", device=device, threads=max(int(cores), 1))
        for index, device in enumerate(share_devices(workers, gpus, gpus_per_worker))
    ]
