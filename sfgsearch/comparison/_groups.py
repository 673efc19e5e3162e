"""Finalists that stand in one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sfgsearch.comparison._comparison import Comparison
from sfgsearch.comparison._formats import thousands
from sfgsearch.comparison._rows import Row

_AS_LEARNED = (
    "Kinds are compared by allocations retrained from scratch; derived and Monte Carlo are the network as it was "
    "learned."
)
_SCALED = (
    "All widths are scaled to the multiply-adds of hard sharing at the study's width. Reversed and shuffled are "
    "controls: the learned shares in reverse and in random order of layers."
)


@dataclass(frozen=True)
class RowGroup:
    """Finalists that stand in one table.

    Args:
        study: The study's name.
        title: What they have in common.
        rows: They, at least one.
        note: What to know about them.
        is_scaled: Whether they are those at equal multiply-adds.
    """

    study: str
    title: str
    rows: Sequence[Row]
    note: str
    is_scaled: bool = False

    @property
    def remark(self) -> str:
        """The meaning of the mark at multiply-adds, where there is one."""
        any_odd = self.is_scaled and not all(row.matched for row in self.rows)
        return "; * not within 2 %, for too few channels" if any_odd else ""

    def macs(self, row: Row) -> str:
        """Return the multiply-adds of one of them as people write them, marked where they are not matched."""
        return thousands(row.macs) + ("*" if self.is_scaled and not row.matched else "")


def row_groups(comparison: Comparison) -> Iterator[RowGroup]:
    """Yield the finalists at equal multiply-adds, where the study matches them, then those at its own width."""
    title, width = "retrained finalists on test data", ""
    if comparison.matched_to is not None:
        width = ", at the study's width"
        if comparison.compared:
            equal = f"{title}, at equal multiply-adds ({thousands(comparison.matched_to)})"
            yield RowGroup(comparison.study, equal, comparison.compared, _SCALED, is_scaled=True)
    if comparison.native:
        yield RowGroup(comparison.study, title + width, comparison.native, _AS_LEARNED)


def width_text(row: Row) -> str:
    """Return the width of a finalist's backbone; a dash where it has none."""
    return "-" if row.width is None else f"{row.width:.3g}"
