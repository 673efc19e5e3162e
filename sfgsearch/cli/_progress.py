"""Progress on standard error: one bar for the items of a phase, one for the epochs of the item."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import click
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sfgsearch.comparison._formats import duration
from sfgsearch.search._finalists import Finalist
from sfgsearch.search._queue import FAILURE
from sfgsearch.training import EpochReport
from sfgsearch.workers import WorkerListener


def say_aside(line: str) -> None:
    """Print a line on standard error."""
    click.echo(line, err=True)


class StudyProgress(WorkerListener):
    """Shows how far a worker has come.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._items: TaskID | None = None
        self._epochs: TaskID | None = None
        self._total_epochs = 1

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, phase: str, items: int, epochs: int) -> None:
        """Begin a phase of so many items, each of so many epochs."""
        for task in (self._items, self._epochs):
            if task is not None:
                self._progress.remove_task(task)
        self._total_epochs = epochs
        self._items = self._progress.add_task(phase, total=items, note="")
        self._epochs = self._progress.add_task("", total=epochs, note="")

    def on_epoch(self, number: int, name: str, report: EpochReport) -> None:
        """Show an epoch of a trial."""
        self._epoch(f"trial {number}: {escape(name)}", report)

    def trial_over(self, trial: FrozenTrial) -> None:
        """Count a trial and leave a line about it."""
        self._advance()
        self.note(describe_trial_end(trial))

    def finalist_epoch(self, finalist: Finalist, report: EpochReport) -> None:
        """Show an epoch of a finalist."""
        self._epoch(escape(str(finalist)), report)

    def finalist_over(self, finalist: Finalist, failure: str | None) -> None:
        """Count a finalist, and leave a line if it failed."""
        self._advance()
        if failure:
            self.note(f"{finalist} failed: {failure}")

    def _epoch(self, description: str, report: EpochReport) -> None:
        if self._epochs is not None:
            note = f"relative error {100 * report.score:.1f} %"
            self._progress.update(self._epochs, description=description, completed=report.epoch + 1, note=note)

    def _advance(self) -> None:
        if self._items is not None:
            self._progress.advance(self._items)

    def note(self, line: str) -> None:
        """Leave a line above the bars."""
        self._progress.console.print(escape(line), highlight=False, soft_wrap=True)


class LineListener(WorkerListener):
    """Prints a line on standard error for everything that is worth one, for workers that nobody watches live.

    Args:
        name: The worker's name, which begins every line.
        say: Takes the lines instead.
    """

    def __init__(self, name: str, say: Callable[[str], None] = say_aside) -> None:
        self._name, self._say = name, say

    def trial_over(self, trial: FrozenTrial) -> None:
        """Print how a trial ended."""
        self.note(describe_trial_end(trial))

    def finalist_over(self, finalist: Finalist, failure: str | None) -> None:
        """Print how a finalist ended."""
        outcome = f"failed: {failure}" if failure else "recorded"
        self.note(f"{finalist}: {outcome}")

    def note(self, line: str) -> None:
        """Print a line in one piece, since others may write to the same terminal."""
        self._say(f"{self._name}: {line}")


def describe_trial_end(trial: FrozenTrial) -> str:
    """Return one line about a trial that is over."""
    name = trial.user_attrs.get("name", "?")
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    if trial.state is TrialState.COMPLETE:
        outcome = f"relative error {100 * trial.user_attrs['relative_error']:.2f} %"
    elif trial.state is TrialState.PRUNED:
        outcome = f"pruned after {trial.user_attrs['pruned_after_epochs']} epochs"
    else:
        outcome = f"failed: {trial.user_attrs.get(FAILURE, 'interrupted')}"
    return f"trial {trial.number:>3}  {name:<24} {outcome}  ({duration(seconds)})"
