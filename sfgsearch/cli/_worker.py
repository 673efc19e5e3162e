"""``sfgsearch worker``: join a study."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from sfgsearch.cli._options import SEED, data_option, read_study, storage_option, study_file
from sfgsearch.cli._progress import LineListener
from sfgsearch.cli._run import leave, open_study
from sfgsearch.reporting import Objective
from sfgsearch.search import sole_process, study_storage
from sfgsearch.workers import Worker


@click.command()
@study_file
@storage_option
@click.option("--seed", type=SEED, metavar="S", help="The study's seed, if it was begun with another than the file's.")
@data_option
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N for this worker, instead of training.device.")
@click.option("--name", metavar="NAME", help="What status calls this worker; host and process unless given.")
def worker(
    study_file: Path, storage: str | None, seed: int | None, data: Path | None, device: str | None, name: str | None
) -> None:
    """Join a study: train its trials and finalists, beside any number of other workers, until none is left.

    Workers may join and leave at any time. SIGTERM saves a checkpoint and leaves within ten seconds, Ctrl-C finishes
    the epoch first; another worker goes on with what this one left, even if it was killed.
    """
    config = read_study(study_file, seed=seed, storage=storage, data=data, device=device)
    name = name or f"{socket.gethostname()}:{os.getpid()}"
    listener = LineListener(name)
    with study_storage(config) as url:
        config = config.with_overrides(storage=url)
        objective = Objective(config)
        with sole_process(config):
            study = open_study(config, objective, listener.note, join=True)
            status = Worker(study, objective, name=name, listener=listener).run()
    if status:
        leave(status)
