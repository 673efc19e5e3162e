"""``sfgsearch dashboard``: review a study in the browser."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import optuna

from sfgsearch.cli._options import Whole, existing_study, read_study, storage_option, study_file
from sfgsearch.config import Config
from sfgsearch.errors import StudyError
from sfgsearch.serving import DashboardServer, is_loopback


@click.command()
@study_file
@storage_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=Whole(0, 65535), default=0, help="The port; a free one unless given.")
def dashboard(study_file: Path, storage: str | None, host: str, port: int) -> None:
    """Serve optuna-dashboard with the trials of a study, their pictures and the comparison, until Ctrl-C.

    It can be used while the study runs. Nobody has to log in: whoever reaches the address can read, change and delete
    the study. It listens on this machine only unless --host says otherwise.
    """
    config = read_study(study_file, storage=storage)
    if not is_loopback(host):
        click.echo(
            f"sfgsearch: warning: {host} may be reached from other machines, and the dashboard asks nobody for a "
            "password: whoever reaches it can read, change and delete studies",
            err=True,
        )
    with existing_study(config) as study:
        serve(study, config, host, port)


def serve(study: optuna.Study, config: Config, host: str, port: int) -> None:
    """Serve a study's page until a signal ends it; the first line on standard output is the address."""
    try:
        server = DashboardServer(study, config, host, port)
    except (OSError, UnicodeError) as error:  # the second for what no name of a host can be
        reason = getattr(error, "strerror", None) or error
        raise StudyError(
            f"--host {host} --port {port}: cannot listen there ({reason}); leave --port out for a free port"
        ) from error
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        click.echo(server.url)
        server.run()
    except KeyboardInterrupt:
        pass  # which is how one ends it
    finally:
        signal.signal(signal.SIGTERM, before)
        server.close()
