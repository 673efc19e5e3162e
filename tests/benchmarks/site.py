"""Where a benchmark works: a temporary folder and a database, both left as they were."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna

from sfgsearch.config import Config, load_config
from sfgsearch.errors import StudyError
from sfgsearch.reporting import Objective
from sfgsearch.search import create_study, records_of
from sfgsearch.storage import EmbeddedPostgres, display_url, is_sqlite, with_driver


@dataclass(frozen=True)
class Site:
    """A place for studies that nobody keeps.

    Args:
        folder: For study files, artifacts and checkpoints.
        storage: The database URL, which may hold a password.
        database: What people call the database.
        note: Called with a line about how far the benchmark is.
    """

    folder: Path
    storage: str
    database: str
    note: Callable[[str], None]

    @contextmanager
    def study(self, toml: str, objective: Callable[[Config], Objective] = Objective) -> Iterator[optuna.Study]:
        """Provide a study in the block, which is deleted afterwards; :meth:`config` reads its file.

        Args:
            toml: The study file.
            objective: Makes the objective, of which the study needs the number of tasks only.
        """
        config = self.config(self.write(toml))
        study = create_study(config, objective=objective(config))
        try:
            yield study
        finally:
            records = records_of(study)
            if records is not None:
                records.clear()
            optuna.delete_study(study_name=study.study_name, storage=study._storage)

    def write(self, toml: str) -> Path:
        """Write a study file under a name that no other study in the database has, and return its path."""
        path = self.folder / f"bench-{secrets.token_hex(4)}.toml"
        path.write_text(toml, encoding="utf-8")
        return path

    def path(self, study: optuna.Study) -> Path:
        """Return the file of a study."""
        return self.folder / f"{study.study_name}.toml"

    def config(self, path: Path) -> Config:
        """Read a study file of this site."""
        return load_config(path).with_overrides(storage=self.storage)


@contextmanager
def open_site(storage: str | None, note: Callable[[str], None]) -> Iterator[Site]:
    """Provide a site in the block.

    Args:
        storage: The URL of a database server; None starts a PostgreSQL in the temporary folder.
        note: Called with a line about how far the benchmark is.

    Raises:
        StudyError: If the URL is of SQLite, or the extra ``embedded`` is missing.
    """
    url = None if storage is None else with_driver(storage)
    if url is not None and is_sqlite(url):
        raise StudyError(
            "bench: SQLite serves one process at a time; leave --storage out for a PostgreSQL of its own, or give the "
            "URL of a PostgreSQL or MySQL server"
        )
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="sfgsearch-bench-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        if url is None:
            database, url = "embedded PostgreSQL", stack.enter_context(EmbeddedPostgres(folder))
        else:
            database = display_url(url)
        yield Site(folder, url, database, note)
