"""Where a study's database is, and how it is reached."""

from sfgsearch.storage._disks import disk_error
from sfgsearch.storage._embedded import EmbeddedPostgres, is_embedded
from sfgsearch.storage._engine import engine_options, open_storage
from sfgsearch.storage._locks import database_lock
from sfgsearch.storage._outage import is_outage, retry_on_outage
from sfgsearch.storage._reconnect import retry_connections
from sfgsearch.storage._urls import display_url, is_on_this_machine, is_sqlite, redact, sqlite_file, with_driver

__all__ = [
    "EmbeddedPostgres",
    "database_lock",
    "disk_error",
    "display_url",
    "engine_options",
    "is_embedded",
    "is_on_this_machine",
    "is_outage",
    "is_sqlite",
    "open_storage",
    "redact",
    "retry_connections",
    "retry_on_outage",
    "sqlite_file",
    "with_driver",
]
