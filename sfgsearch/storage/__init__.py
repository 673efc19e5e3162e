"""Where a study's database is, and how it is reached."""

from sfgsearch.storage._disks import disk_error
from sfgsearch.storage._embedded import EmbeddedPostgres, is_embedded
from sfgsearch.storage._engine import engine_options, open_storage
from sfgsearch.storage._locks import database_lock
from sfgsearch.storage._outage import is_outage
from sfgsearch.storage._outlast import outlast
from sfgsearch.storage._patience import be_patient
from sfgsearch.storage._sparing import SparingStorage, ending, reading_once, together, trial_system_attrs
from sfgsearch.storage._urls import display_url, is_on_this_machine, is_sqlite, redact, sqlite_file, with_driver

__all__ = [
    "EmbeddedPostgres",
    "SparingStorage",
    "be_patient",
    "database_lock",
    "disk_error",
    "display_url",
    "ending",
    "engine_options",
    "is_embedded",
    "is_on_this_machine",
    "is_outage",
    "is_sqlite",
    "open_storage",
    "outlast",
    "reading_once",
    "redact",
    "sqlite_file",
    "together",
    "trial_system_attrs",
    "with_driver",
]
