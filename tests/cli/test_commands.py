"""The commands as a user meets them: a whole run, its continuation, and bad input."""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_study import TRIALS_FAIL, sections
from filelock import FileLock
from PIL import Image
from study_fixtures import merge, write_study

from sfgsearch import create_study, load_config
from sfgsearch.cli import main
from sfgsearch.errors import SFGSearchError
from sfgsearch.search import load_study

METRICS = {f"{task}/{metric}" for task in ("first", "second") for metric in ("accuracy", "balanced_accuracy", "f1")}


SMALL = {
    "manual": {"methods": ["hard_sharing", "equal"]},
    "quota": {"learned": 1, "searched": 1},
    "training": {"epochs": 1},
}


ONE = {"manual": {"methods": ["equal"]}, "quota": {"learned": 0, "searched": 0}, "comparison": {"seeds": 1}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run a study to its end, and return its file and what the command printed."""
    path = write_study(tmp_path_factory.mktemp("finished"), **SMALL)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        main(["run", str(path)])
    return path, out.getvalue(), err.getvalue()


def test_run_trains_compares_and_reports_at_once_when_run_again(finished, call):
    path, out, err = finished
    for name in ("learned-2", "searched-3", "hard_sharing", "equal"):
        assert name in out
        assert name in err
    assert "learned-2 against searched-3" in out
    assert "relative error" in err
    status, again, err = call("run", path)
    assert (status, again) == (0, out)
    assert "trial" not in err


def test_compare_prints_the_contract(finished, call):
    path, _, _ = finished
    status, out, _ = call("compare", path, "--json")
    data = json.loads(out)
    assert status == 0
    assert data["study"] == "tiny"
    assert {row["kind"] for row in data["rows"]} == {"learned", "searched", "manual"}
    for row in data["rows"]:
        assert row["seeds"] == 2
        sampled = {"first/uncertainty", "second/uncertainty"} if row["inference"] == "monte_carlo" else set()
        assert set(row["metrics"]) == METRICS | sampled
        for metric in row["metrics"].values():
            low, high = metric["ci95"]
            assert low <= metric["mean"] <= high
        assert row["parameters"] > 0
        assert row["macs"] > 0
    learned = [row for row in data["rows"] if row["kind"] == "learned"]
    assert [row["inference"] for row in learned] == ["retrained", "derived", "monte_carlo"]
    assert learned[2]["macs"] > learned[1]["macs"]
    pairs = {(test["first"]["kind"], test["second"]["kind"]) for test in data["tests"]}
    assert pairs == {("learned", "searched"), ("learned", "manual"), ("searched", "manual")}
    table = call("compare", path)[1]
    assert "The best learned and searched against others" in table
    assert "learned-2 derived" in table
    assert "learned-2 monte" in table


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_compare_writes_a_report(trained_study, tmp_path, call, suffix):
    output = tmp_path / f"report{suffix}"
    status, out, err = call("compare", trained_study, "--output", output, "--json")
    assert status == 0
    assert err == f"wrote {output}{' and 5 pictures' if suffix == '.md' else ''}\n"
    (learned, *_) = json.loads(out)["rows"]
    text = output.read_text()
    assert learned["name"] in text
    assert f"{100 * learned['relative_error']['mean']:.1f}" in text
    assert "pairs_per_digit = 1" in text
    assert "sfgsearch run tiny.toml" in text


def test_a_report_of_another_kind_is_refused_before_anything_is_read(tmp_path, call):
    status, out, err = call("compare", tmp_path / "missing.toml", "--output", tmp_path / "report.pdf")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "a report is .html or .md, not .pdf" in err


def test_show_prints_the_contract(finished, call):
    path, _, _ = finished
    status, out, _ = call("show", path, "--trial", 2, "--json")
    data = json.loads(out)
    assert status == 0
    assert (data["trial"], data["kind"]) == (2, "learned")
    assert set(data["params"]) == {"kind", "learned.lr", "learned.kl_weight"}
    assert data["allocation"]["groups"] == ["first", "second", "shared"]
    first, second = data["allocation"]["layers"]
    assert (first["name"], sum(first["counts"]), sum(second["counts"])) == ("conv1", 4, 6)
    assert sum(first["mean_probs"]) == pytest.approx(1, abs=1e-5)
    assert set(data["metrics"]) == METRICS
    assert [task["name"] for task in data["tasks"]] == ["first", "second"]
    manual = json.loads(call("show", path, "--trial", 0, "--json")[1])
    assert manual["allocation"]["layers"][0]["mean_probs"] is None
    status, table, _ = call("show", path, "--trial", 2)
    assert status == 0
    assert "conv2" in table
    assert data["monte_carlo"] is None, "finalists only are measured so"
    assert manual["monte_carlo"] is None


def test_a_larger_quota_continues(finished, call, tmp_path):
    folder = shutil.copytree(finished[0].parent, tmp_path / "copy")
    path = write_study(folder, **{**SMALL, "quota": {"learned": 2, "searched": 1}})
    status, _, err = call("run", path)
    assert status == 0
    assert err.count("relative error") >= 1
    assert len(load_study(load_config(path)).trials) == 5


def test_storage_and_seed_options(study_file, call, tmp_path):
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    path = study_file(**ONE)
    assert call("run", path, "--storage", url, "--seed", 4)[0] == 0
    status, out, _ = call("show", path, "--trial", 0, "--storage", url, "--json")
    assert status == 0
    assert json.loads(out)["seed"] == 4
    (row,) = json.loads(call("compare", path, "--storage", url, "--json")[1])["rows"]
    assert (row["name"], row["seeds"]) == ("equal", 1), "the finalists of a seed from the command line are compared too"


@pytest.mark.parametrize(
    ("sections", "arguments", "parts"),
    [
        ({"training": {"epoch": 3}}, ["run"], ["tiny.toml", "training.epoch", "did you mean 'epochs'"]),
        ({"training": {"epochs": "3"}}, ["run"], ["tiny.toml", "training.epochs", "'3'"]),
        ({"backbone": {"plan": None, "name": "vgg11"}}, ["run"], ["backbone.name", "16 pixels"]),
        (
            {"manual": {"allocations": {"mine": {"*": [0.5, 0.5, 0.5]}}}},
            ["run"],
            ["tiny.toml", "manual.allocations.mine", "sum to one"],
        ),
        (
            {"manual": {"allocations": {"mine": {"conv1": [2, 2, 0], "*": [0.3, 0.3, 0.4]}}}},
            ["run"],
            ["manual.allocations.mine", "'conv2'", "would read nothing"],
        ),
        ({}, ["run", "--trials", "0"], ["--trials", "x>=1"]),
        ({}, ["run", "--trials", "many"], ["--trials", "many"]),
        ({}, ["run", "--epochs", "3"], ["--epochs"]),
        ({}, ["run", "--storage", "nowhere"], ["not a database URL"]),
        ({}, ["compare"], ["no study yet", "sfgsearch run"]),
        ({}, ["show", "--trial", "0"], ["no study yet"]),
        ({}, ["show"], ["--trial"]),
        ({}, ["explore"], ["explore"]),
    ],
)
def test_bad_input_is_one_line_and_status_two(study_file, call, tmp_path, sections, arguments, parts):
    command, *options = arguments
    status, out, err = call(command, study_file(**sections), *options)
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    for part in parts:
        assert part in err
    assert not (tmp_path / "tiny" / "study.db").exists()


def test_a_missing_study_file_is_bad_input(call, tmp_path):
    status, _, err = call("run", tmp_path / "absent.toml")
    assert status == 2
    assert "absent.toml: cannot read the study file" in err


def test_show_names_the_trials_that_there_are(trained_study, call):
    status, _, err = call("show", trained_study, "--trial", 77)
    assert status == 2
    assert "its trials: 0 to 3" in err


def test_a_second_process_is_kept_off(study_file, call, tmp_path):
    path = study_file()
    (tmp_path / "tiny").mkdir()
    with FileLock(tmp_path / "tiny" / "study.db.lock"):
        status, _, err = call("run", path)
    assert status == 2
    assert "another process runs a study in" in err


def states(path):
    """Return the states of a study's trials, none while there is no study yet."""
    try:
        return {trial.state.name for trial in load_study(load_config(path)).trials}
    except SFGSearchError:
        return set()


@pytest.mark.slow
def test_a_killed_run_continues(study_file, call, tmp_path):
    """The trial that was running when the process died goes on; what was recorded stays."""
    pause = tmp_path / "pause"
    pause.write_text("2")
    path = study_file(
        **SMALL,
        study={"imports": [str(Path(__file__).parents[1] / "slow_digits.py")]},
        data={"name": "slow_digits", "pairs_per_digit": None, "pause": str(pause)},
        comparison={"seeds": 1, "as_learned": False},
    )
    command = [sys.executable, "-m", "sfgsearch", "run", str(path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not {"COMPLETE", "RUNNING"} <= states(path) and time.monotonic() < deadline:
            time.sleep(0.5)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert {"COMPLETE", "RUNNING"} <= states(path)
    pause.unlink()
    assert call("run", path)[0] == 0
    trials = load_study(load_config(path)).trials
    finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(finished) == len(trials) == 4


def test_help_and_version(call):
    assert "run" in call("--help")[1]
    assert "sfgsearch" in call("--version")[1]
    assert call()[0] == 2


def test_an_interrupted_run_says_so_and_continues(study_file, call, monkeypatch):
    path = study_file(**ONE)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sfgsearch.cli._progress.StudyProgress.on_epoch", interrupt)
        status, _, err = call("run", path)
    assert status == 130
    assert "interrupted; the same command continues" in err
    assert states(path) == {"WAITING"}
    assert call("run", path)[0] == 0
    assert states(path) == {"COMPLETE"}


def test_trials_option_holds_for_trials_that_wait_already(study_file, call):
    path = study_file(comparison={"seeds": 1, "as_learned": False})
    create_study(load_config(path))
    assert call("run", path, "--trials", 3)[0] == 0
    finished = [trial for trial in load_study(load_config(path)).trials if trial.state.name == "COMPLETE"]
    assert sorted(trial.params["kind"] for trial in finished) == ["learned", "manual", "searched"]


def test_a_run_whose_trials_all_fail_says_why(study_file, call, tmp_path):
    switch = tmp_path / "switch"
    switch.write_text(TRIALS_FAIL)
    changes = {"quota": {"learned": 0, "searched": 0}, "execution": {"retries": 0}}
    path = study_file(**merge(sections(switch), {**changes, "manual": {"methods": ["faulty"]}}))
    status, out, err = call("run", path)
    assert status == 1
    assert "Traceback" not in err
    assert "1 training that the study asks for is missing for good" in err.strip().splitlines()[-1]
    assert "no finalist (1 trial over)" in out
    assert out.count("broken on purpose") == 1


def test_a_folder_that_is_a_file_is_bad_input(study_file, call, tmp_path):
    (tmp_path / "taken").write_text("")
    status, _, err = call("run", study_file(study={"folder": "taken"}))
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "taken" in err


def test_markup_in_names_is_text(study_file, call):
    path = study_file(study={"name": "x[/red] [bold]y"})
    create_study(load_config(path))
    status, out, _ = call("compare", path)
    assert status == 0
    assert "x[/red] [bold]y: no finalist yet" in out


def test_a_run_says_first_which_files_were_skipped(study_file, call, tmp_path):
    for index in range(24):
        side = Image.new("RGB", (8, 8), (10 * index,) * 3)
        (tmp_path / "faces").mkdir(exist_ok=True)
        side.save(tmp_path / "faces" / f"{index}_{index // 2 % 2}_0_{index:03}.jpg")
    (tmp_path / "faces" / "5_1_20170109142408075.jpg").write_bytes(b"")
    faces = {"name": "utkface", "pairs_per_digit": None, "path": str(tmp_path / "faces"), "size": 8}
    path = study_file(**ONE, data=faces)
    status, _, err = call("run", path)
    assert status == 0, err
    labels, skipped = err.splitlines()[:2]
    assert labels.endswith("16, 4 and 4 images for training, validation and test; labels present: age all, gender all")
    assert skipped.endswith("skipped 1 of 25 files: 5_1_20170109142408075.jpg (3 fields instead of 4)")
