"""The status of a study as tables, and its summary."""

from __future__ import annotations

from collections.abc import Iterator

from sfgsearch.comparison._status import StudyStatus
from sfgsearch.reporting._durations import duration
from sfgsearch.reporting._study_tables import failures_table
from sfgsearch.reporting._table import Column, Table, text

_COUNTS = ("quota", "complete", "pruned", "running", "waiting", "failed")


def status_tables(status: StudyStatus) -> Iterator[Table]:
    """Yield the tables of ``sfgsearch status``: quotas, running trainings and failures."""
    yield Table(
        f"{status.study}: trials",
        [text("kind"), *map(Column, _COUNTS)],
        [
            (kind.kind, *(str(getattr(kind, name) or ("0" if name == "quota" else "-")) for name in _COUNTS))
            for kind in status.kinds
        ],
    )
    if status.running:
        yield _running(status)
    if status.failures:
        yield failures_table(status)


def _running(status: StudyStatus) -> Table:
    rows = [
        (
            job.job,
            job.name,
            job.worker,
            duration(job.seconds),
            "none" if job.silent is None else f"{duration(job.silent)} ago",
            f"{job.epoch}/{job.epochs}",
            str(job.resumed or "-"),
        )
        for job in status.running
    ]
    columns = [*map(text, ("job", "what", "worker")), *map(Column, ("for", "heartbeat", "epoch", "handed on"))]
    return Table("running", columns, rows)


def status_summary(status: StudyStatus) -> str:
    """Return a sentence about finalists, and one about the time left."""
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
