"""The benchmark of quality over splits, in small."""

import dataclasses
import functools
import json

import pytest
from click.testing import CliRunner

from sfgsearch.data import digit_pairs
from tests.benchmarks import splits


@pytest.fixture(autouse=True)
def small(monkeypatch):
    setting = dataclasses.replace(
        splits.SETTINGS["digit_pairs"], data=functools.partial(digit_pairs, pairs_per_digit=1), plan=(4, 4), epochs=1
    )
    monkeypatch.setattr(splits, "SETTINGS", {"digit_pairs": setting})
    monkeypatch.setattr(splits, "LEARNED", dict(list(splits.LEARNED.items())[:2]))


def run(*options):
    done = CliRunner().invoke(splits.main, ["--data", "digit_pairs", "--splits", "2", *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.slow
def test_every_network_is_trained_on_every_split():
    rows = json.loads(run("--json"))["rows"]
    names = ["hard sharing", "late", *(f"{name}{more}" for name in splits.LEARNED for more in ("", ", retrained"))]
    assert [(row["split"], row["name"]) for row in rows] == [(split, name) for split in range(2) for name in names]
    assert all(0 < row["error"] < 1.2 for row in rows)
    assert all(len(row["shared"]) == 2 * (row["name"] in splits.LEARNED) for row in rows)
    assert rows[0]["error"] != rows[len(names)]["error"]


def test_the_table_has_differences_by_split():
    rows = [
        splits.Row("d", split, name, error)
        for name, errors in {"hard sharing": (0.2, 0.3), "soft streams": (0.1, 0.2)}.items()
        for split, error in enumerate(errors)
    ]
    (table,) = splits.tables(rows)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["hard sharing", "soft streams"]
    assert columns[2] == ["", "-10.0 ±0.0"]
    assert columns[3] == ["+10.0 ±0.0", ""]
