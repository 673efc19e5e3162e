"""``sfgsearch launch``: many workers with one command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import optuna
import torch

from sfgsearch.cli._compare import print_comparison
from sfgsearch.cli._options import (
    SEED,
    Number,
    Whole,
    data_option,
    read_study,
    retry_option,
    storage_option,
    study_file,
)
from sfgsearch.cli._progress import LineListener, say_aside
from sfgsearch.cli._run import end_with, leave, open_study
from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.reporting import Objective
from sfgsearch.search import sole_process, study_storage
from sfgsearch.storage import is_on_this_machine
from sfgsearch.workers import (
    LocalWorkers,
    RayCluster,
    RayWorkers,
    WorkerOrder,
    ray_cluster,
    share_devices,
    share_of_gpu,
)


@click.command()
@study_file
@click.option("--workers", type=Whole(1, 1000), metavar="N", required=True, help="How many.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or actors of a Ray cluster.",
)
@click.option("--address", metavar="HOST:PORT", help="Of a Ray cluster; auto is the one that runs here.")
@click.option("--trials", type=Whole(1), metavar="N", help="Trials in all, split over the kinds as the file does.")
@storage_option
@click.option("--seed", type=SEED, metavar="S", help="The study's seed.")
@data_option
@retry_option
@click.option(
    "--gpus-per-worker",
    type=Number(0.0001),
    metavar="X",
    help="Part of a GPU that a worker needs, such as 0.25; all share the GPUs that there are unless given.",
)
@click.option(
    "--cpus-per-worker",
    type=Number(0.0001),
    metavar="X",
    help="CPU cores of a worker: an even share of this machine's, or 1 on Ray, unless given.",
)
def launch(
    study_file: Path,
    workers: int,
    engine: str,
    address: str | None,
    trials: int | None,
    storage: str | None,
    seed: int | None,
    data: Path | None,
    retry_failed: bool,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
) -> None:
    """Train a study with N workers, and compare the winners.

    Without a database server in the study file or --storage, several workers share a PostgreSQL that keeps its data in
    the study's folder and stops with them. Workers that die are started again; what they were at goes on from its
    checkpoint. Ctrl-C lets all finish their epoch, a second one stops them at once.

    Exit status: 0 if everything that the study asks for is there; 1 if something failed for good and is missing, which
    is named with its reason; 2 for bad input, or if workers die again and again; 130 or 143 if interrupted.
    """
    if address is not None and engine != "ray":
        raise click.UsageError("--address is for --engine ray")
    if address is not None and "@" in address:
        raise click.UsageError("--address is HOST:PORT, without user and password")
    config = read_study(study_file, trials=trials, seed=seed, storage=storage, data=data)
    listener = LineListener("launch")
    is_parallel = workers > 1 or engine != "local"
    with _cluster(config, engine, address) as cluster, study_storage(config, parallel=is_parallel) as url:
        config = config.with_overrides(storage=url)
        objective = Objective(config)
        order = WorkerOrder(study_file.absolute(), url, "", seed=seed, data=data.absolute() if data else None)
        needs = (workers, gpus_per_worker, cpus_per_worker)
        make = _on_ray(config, order, *needs, cluster) if cluster else _here(config, order, *needs)
        with sole_process(config):
            study = open_study(config, objective, listener.note, retry=retry_failed)
            del objective  # the workers load the data for themselves
            status = make(study, listener.note).run()
        if status:
            leave(status)
        end_with(print_comparison(study, config))


_MakeCrew = Callable[[optuna.Study, Callable[[str], None]], LocalWorkers | RayWorkers]


@contextmanager
def _cluster(config: Config, engine: str, address: str | None) -> Iterator[RayCluster | None]:
    """Join the Ray cluster in the block, if there shall be one.

    Raises:
        StudyError: If its nodes cannot reach the study's database.
    """
    if engine == "local":
        yield None
        return
    with ray_cluster(address) as cluster:
        if not cluster.is_here and (config.study.storage is None or is_on_this_machine(config.study.storage)):
            raise StudyError(
                f"{config.path}: the cluster has nodes on other machines, which do not reach a database on this one; "
                "give the URL of a PostgreSQL or MySQL server that all reach as study.storage, with --storage or in "
                "SFGSEARCH_STORAGE"
            )
        yield cluster


def _here(
    config: Config, order: WorkerOrder, workers: int, gpus_per_worker: float | None, cpus_per_worker: float | None
) -> _MakeCrew:
    """Return what makes the local workers."""
    gpus = torch.cuda.device_count() if config.training.device in ("auto", "cuda") else 0
    cores = cpus_per_worker or len(os.sched_getaffinity(0)) / workers
    orders = [
        replace(order, name=f"worker-{index + 1}", device=device, threads=max(int(cores), 1))
        for index, device in enumerate(share_devices(workers, gpus, gpus_per_worker))
    ]
    return lambda study, note: LocalWorkers(study, orders, LineListener, note)


def _on_ray(
    config: Config,
    order: WorkerOrder,
    workers: int,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
    cluster: RayCluster,
) -> _MakeCrew:
    """Return what makes the workers on a Ray cluster."""
    device = config.training.device
    gpus = share_of_gpu(workers, cluster.gpus if device != "cpu" else 0, gpus_per_worker)
    if device.startswith("cuda") and not gpus:
        raise StudyError(
            f"{config.path}: training.device is {device}, and the cluster has no GPU now; give the part of one that a "
            "worker needs with --gpus-per-worker if nodes with GPUs will join, or set the device to auto or cpu"
        )
    cpus = cpus_per_worker or 1.0
    order = replace(order, device="cuda" if gpus else device, threads=max(int(cpus), 1))
    orders = [replace(order, name=f"worker-{index + 1}") for index in range(workers)]

    def make(study: optuna.Study, note: Callable[[str], None]) -> RayWorkers:
        if workers * cpus > cluster.cpus or workers * gpus > cluster.gpus:
            note(
                f"{workers} workers need {workers * cpus:g} CPUs and {workers * gpus:g} GPUs, and the cluster has "
                f"{cluster.cpus:g} and {cluster.gpus:g} now; those without room begin when there is some"
            )
        return RayWorkers(study, orders, LineListener, say_aside, note, gpus=gpus, cpus=cpus)

    return make
