"""optuna-dashboard for one study and its artifacts."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.artifacts import FileSystemArtifactStore

from sfgsearch._optuna import storage_of, study_id
from sfgsearch.config import Config
from sfgsearch.search import artifact_folder

_THREADS = 8

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine's own, which no other one reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class DashboardServer:
    """A web server with optuna-dashboard, bound to its address.

    On a loopback address it answers only requests that name this machine. A page elsewhere in the web could otherwise
    have its own name resolve to this machine and change the study with the browser of whoever reads it.

    Args:
        study: The study, in a database.
        config: Its study file, for the folder of its artifacts.
        host: The address to listen on.
        port: The port; 0 for a free one.

    Raises:
        OSError: If nothing can listen there.
    """

    def __init__(self, study: optuna.Study, config: Config, host: str = "127.0.0.1", port: int = 0) -> None:
        from optuna_dashboard import wsgi
        from waitress.server import create_server

        folder = artifact_folder(config)
        folder.mkdir(parents=True, exist_ok=True)
        pages: _Application = wsgi(storage_of(study), artifact_store=FileSystemArtifactStore(folder))
        if is_loopback(host):
            pages = _only_for_this_machine(pages)
        # A browser that asks for more at once than there are threads waits a moment, which is worth no warning.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._server = create_server(pages, host=host, port=port, threads=_THREADS, ident=None)
        self._study, self._host = study_id(study), host

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(getattr(self._server, "effective_port", 0) or self._server.effective_listen[0][1])

    @property
    def url(self) -> str:
        """The address of the study's page."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/dashboard/studies/{self._study}"

    def run(self) -> None:
        """Answer requests until an exception, such as KeyboardInterrupt, ends it."""
        self._server.run()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


def _only_for_this_machine(pages: _Application) -> _Application:
    def answer(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        named = urlsplit(f"//{environment.get('HTTP_HOST', '')}").hostname
        if named is not None and is_loopback(named):
            return pages(environment, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"This dashboard answers only requests for this machine, such as http://127.0.0.1.\n"]

    return answer
