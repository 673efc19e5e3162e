"""The comparison in terminals of different widths."""

import io

import pytest
from rich.console import Console

from sfgsearch.comparison import Comparison, Row
from sfgsearch.comparison._statistics import interval
from sfgsearch.reporting import WIDEST, comparison_tables

TASKS = {"ct": ("mae", "psnr"), "organs": ("dice", "dice_bladder", "dice_left_femur", "dice_rectum", "accuracy")}
KEYS = [f"{task}/{metric}" for task, metrics in TASKS.items() for metric in metrics]
NAMES = {"learned-8": "learned", "constant_probabilities": "manual"}


@pytest.fixture
def comparison():
    rows = [
        Row(
            kind=kind,
            name=name,
            inference="retrained",
            trial=0,
            seeds=2,
            metrics={key: interval([0.123, 0.456]) for key in KEYS},
            units=dict.fromkeys(KEYS, "fraction"),
            headline=tuple(KEYS),
            error=interval([0.5, 0.6]),
            validation_error=0.5,
            errors_by_seed={1: 0.5, 2: 0.6},
            parameters=12345,
            macs=67890,
        )
        for name, kind in NAMES.items()
    ]
    return Comparison("prostate", rows, {})


def show(comparison, width):
    """Return how many tables there are, and what they look like."""
    console = Console(width=width, file=io.StringIO())
    tables = comparison_tables(comparison)[0].to_rich(console)
    for table in tables:
        console.print(table)
    return len(tables), console.file.getvalue()


def test_one_table_where_it_fits(comparison):
    number, shown = show(comparison, WIDEST)
    assert number == 1
    assert max(map(len, shown.splitlines())) < 250
    assert shown.count("constant_probabilities") == 1
    assert shown.count("dice_left_femur") == 1


@pytest.mark.parametrize("width", [80, 100])
def test_several_tables_where_all_metrics_do_not_fit(comparison, width):
    number, shown = show(comparison, width)
    assert number >= 3
    assert "…" not in shown, "nothing is cut"
    assert max(map(len, shown.splitlines())) <= width
    for word in NAMES | dict.fromkeys(NAMES.values()):
        assert shown.count(word) >= number
    for metrics in TASKS.values():
        assert all(f"{metric} " in shown for metric in metrics)
    assert shown.count("±211.6") == 2 * len(KEYS)
    assert shown.count("12.3k") == 2
