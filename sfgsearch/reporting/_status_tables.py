"""The status of a study as tables for terminals."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sfgsearch.reporting._formats import duration
from sfgsearch.reporting._status import StudyStatus

_COUNTS = ("quota", "complete", "pruned", "running", "waiting", "failed")


def status_tables(status: StudyStatus) -> Iterator[RenderableType]:
    """Yield what ``sfgsearch status`` prints: quotas, running trainings, failures, and the time left."""
    yield _kinds(status)
    if status.running:
        yield _running(status)
    if status.failures:
        yield _failures(status)
    yield Text(_summary(status))


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")


def _kinds(status: StudyStatus) -> Table:
    table = _table(f"{status.study}: trials")
    table.add_column("kind")
    for title in _COUNTS:
        table.add_column(title, justify="right")
    for kind in status.kinds:
        table.add_row(kind.kind, *(str(getattr(kind, name) or ("0" if name == "quota" else "-")) for name in _COUNTS))
    return table


def _running(status: StudyStatus) -> Table:
    table = _table("running")
    for title in ("job", "what", "worker"):
        table.add_column(title, overflow="fold")
    for title in ("for", "last sign", "epoch", "handed on"):
        table.add_column(title, justify="right", no_wrap=True)
    for job in status.running:
        silent = "none" if job.silent is None else f"{duration(job.silent)} ago"
        cells = (job.job, job.name, job.worker, duration(job.seconds), silent, f"{job.epoch}/{job.epochs}")
        table.add_row(*map(Text, cells), str(job.resumed or "-"))
    return table


def _failures(status: StudyStatus) -> Table:
    table = _table("failed")
    for title in ("job", "what", "reason", "then"):
        table.add_column(title, overflow="fold")
    for failure in status.failures:
        then = "tried again" if failure.retried else "given up"
        table.add_row(*map(Text, (failure.job, failure.name, failure.reason, then)))
    return table


def _summary(status: StudyStatus) -> str:
    recorded, wanted = status.finalists
    unfinished = sum(kind.unfinished for kind in status.kinds)
    finalists = f"Finalists: {recorded} recorded" + (f" of {wanted}" if not unfinished else ", more follow the trials")
    if status.seconds_left is None:
        left = "nobody is at work" if not status.running else "no estimate of the time left yet"
    elif status.seconds_left == 0:
        left = "nothing left to do"
    else:
        left = f"about {duration(status.seconds_left)} left for those at work"
    return f"{finalists}. {left[0].upper()}{left[1:]}."
