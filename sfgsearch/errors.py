"""Every error that sfgsearch raises for its users' sake, below one root."""

from __future__ import annotations

from pathlib import Path


class SFGSearchError(Exception):
    """Root of all errors raised on purpose; commands print it as one line and exit with status 2."""


class ConfigError(SFGSearchError):
    """A study file asks for something that cannot be.

    Args:
        message: What is wrong and what is allowed.
        file: The study file.
        key: Dotted path of the key, such as ``learned.temperature.start``.
    """

    def __init__(self, message: str, *, file: Path | str | None = None, key: str | None = None) -> None:
        self.message, self.file, self.key = message, file, key
        super().__init__(": ".join(str(part) for part in (file, key, message) if part))


class AllocationError(SFGSearchError, ValueError):
    """An allocation is malformed, or does not fit the backbone that should carry it."""


class BackboneError(SFGSearchError, ValueError):
    """A backbone cannot be built for the given image shape or options."""


class RegistryError(SFGSearchError, LookupError):
    """A name is not registered, or registered twice."""


class DataError(SFGSearchError, ValueError):
    """A data set is missing, unreadable or too small."""


class RecordsError(SFGSearchError):
    """The records in the study's database cannot be read or written by this version."""


class StudyError(SFGSearchError):
    """A study cannot be created, continued or found."""


class NonFiniteLossError(SFGSearchError, ArithmeticError):
    """Training met a loss that is NaN or infinite."""


class ExportError(SFGSearchError):
    """A recorded network cannot be rebuilt, exported or read back."""


class ReportError(SFGSearchError):
    """A report cannot be written."""


class LockHeldError(StudyError):
    """Another process holds a lock of the database for longer than this one would wait."""


class TrainingInterrupted(SFGSearchError):  # noqa: N818 - it is no failure
    """Ends a training that shall go on later, here or elsewhere; not a failure of what is trained."""


class LeaseLostError(TrainingInterrupted):
    """Another worker has taken over what this one was training; its result must be dropped."""


class CheckpointError(SFGSearchError):
    """A checkpoint cannot be saved or removed."""


class BenchmarkError(SFGSearchError):
    """A benchmark cannot be run, or what it measured says nothing."""
