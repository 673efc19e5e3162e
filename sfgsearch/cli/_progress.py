"""Progress on standard error: one bar for the items of a phase, one for the epochs of the item."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sfgsearch.search._finalists import Finalist
from sfgsearch.training import EpochReport


class StudyProgress:
    """Shows how far a run has come.

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

    def trial_epoch(self, number: int, name: str, report: EpochReport) -> None:
        """Show an epoch of a trial."""
        self._epoch(f"trial {number}: {escape(name)}", report)

    def finalist_epoch(self, finalist: Finalist, report: EpochReport) -> None:
        """Show an epoch of a finalist, whose last epoch ends the item."""
        self._epoch(f"{escape(finalist.name)}, seed {finalist.seed}", report)
        if report.epoch + 1 == self._total_epochs and self._items is not None:
            self._progress.advance(self._items)

    def _epoch(self, description: str, report: EpochReport) -> None:
        if self._epochs is not None:
            note = f"relative error {100 * report.score:.1f} %"
            self._progress.update(self._epochs, description=description, completed=report.epoch + 1, note=note)

    def end_item(self, line: str) -> None:
        """Count an item as done and leave a line about it."""
        if self._items is not None:
            self._progress.advance(self._items)
        self.note(line)

    def note(self, line: str) -> None:
        """Leave a line above the bars."""
        self._progress.console.print(escape(line), highlight=False, soft_wrap=True)
