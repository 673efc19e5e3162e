"""The benchmark of selection, in small."""

import json

import pytest
from click.testing import CliRunner

from tests.benchmarks import selection


@pytest.mark.slow
def test_random_trials_are_retrained_on_splits_of_their_own(study_file):
    path = study_file(training={"epochs": 4, "batch_size": 64, "lr": 0.03})
    done = CliRunner().invoke(selection.main, [str(path), "--trials", "3", "--seeds", "2", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["rows"]) == 3
    assert all(len(set(row["retrained"])) == 2 for row in found["rows"])
    assert -1 <= found["rank_correlation"] <= 1


def test_the_correlation_is_that_of_ranks():
    rows = [selection.Row(score, 0.0, (mean - 0.1, mean + 0.1)) for score, mean in ((0.1, 0.2), (0.2, 0.9), (0.9, 0.3))]
    assert selection.rank_correlation(rows) == pytest.approx(0.5)
    assert list(selection.table(rows).columns[2].cells) == ["20.0", "90.0", "30.0"]
