"""What fails for good is named wherever a study is reported, ends with status 1, and gets another chance."""

import json

import pytest
from faulty_study import FINALISTS_FAIL, TRIALS_FAIL, sections
from optuna.trial import TrialState
from optuna_dashboard import get_note

from sfgsearch import create_study, load_config
from sfgsearch.search import load_study


@pytest.fixture
def switch(tmp_path):
    return tmp_path / "switch"


@pytest.mark.parametrize("told", [TRIALS_FAIL, pytest.param(FINALISTS_FAIL, marks=pytest.mark.slow)])
def test_what_fails_for_good_is_named_everywhere_and_complete_after_another_chance(
    study_file, tmp_path, call, switch, told
):
    switch.write_text(told)
    path = study_file(**sections(switch))
    learned = "learned-3" if told == TRIALS_FAIL else "learned-2"  # what failed is tried again before others begin
    status, out, err = call("run", path)
    assert status == 1
    assert out.count("RuntimeError: broken on purpose") == (1 if told == TRIALS_FAIL else 2)
    (verdict,) = [line for line in out.splitlines() if f": {learned} " in line and " equal (" in line]
    assert verdict.endswith(", without faulty, which failed.")
    assert "missing for good" in err.splitlines()[-1]
    assert "--retry-failed" in err.splitlines()[-1]
    assert "continue" not in out

    status, out, _ = call("compare", path, "--json", "--output", tmp_path / "report.md")
    found = json.loads(out)
    expected = {"kind": "manual", "name": "faulty", "reason": "RuntimeError: broken on purpose"}
    if told == TRIALS_FAIL:
        assert found["missing"] == [{**expected, "trial": 1, "seed": None, "role": "trial"}], "the last attempt"
    else:
        each = [{**expected, "trial": 0, "seed": seed, "role": "finalist"} for seed in (1, 2)]
        assert found["missing"] == each
    assert found["unfinished"] == {"trials": 0, "finalists": 0}
    assert status == 0, "only those exit with 1 that should have made it"
    report = (tmp_path / "report.md").read_text()
    assert "## Missing for good" in report
    assert report.count("broken on purpose") >= 2
    note = get_note(load_study(load_config(path)))
    assert "without faulty, which failed" in note
    assert "missing for good: faulty (manual)" in note

    assert call("run", path)[0] == 1, "it is not tried again unless asked"
    switch.unlink()
    status, out, err = call("run", path, "--retry-failed")
    assert status == 0
    assert "trying again what failed for good" in err
    assert "faulty" in out
    assert "missing" not in out.lower()
    data = json.loads(call("compare", path, "--json")[1])
    assert data["missing"] == []
    assert {row["name"]: row["seeds"] for row in data["rows"]} == {learned: 2, "faulty": 2, "equal": 2}


def test_a_study_whose_finalists_all_failed_says_why_and_not_to_continue(study_file, call, switch):
    switch.write_text(FINALISTS_FAIL)
    changes = {"manual": {"methods": ["faulty"], "options": {"faulty": {"switch": str(switch)}}}}
    path = study_file(**{**sections(switch), **changes, "quota": {"learned": 0, "searched": 0}})
    for command in ("run", "compare"):
        status, out, _ = call(command, path)
        assert status == (1 if command == "run" else 0)
        assert "no finalist (1 trial over)" in out
        assert out.count("broken on purpose") == 2
        assert "continue" not in out


def test_what_is_not_there_yet_is_told_from_what_failed_for_good(study_file, call, switch):
    switch.write_text(TRIALS_FAIL)
    path = study_file(**sections(switch))
    create_study(load_config(path))
    data = json.loads(call("compare", path, "--json")[1])
    assert (data["missing"], data["unfinished"]) == ([], {"trials": 3, "finalists": 0})
    assert "Not there yet: 3 trials; continue with" in call("compare", path)[1]
    assert call("run", path, "--trials", 2)[0] == 1
    create_study(load_config(path))
    data = json.loads(call("compare", path, "--json")[1])
    assert [one["name"] for one in data["missing"]] == ["faulty"]
    assert data["unfinished"] == {"trials": 1, "finalists": 0}
    out = call("compare", path)[1]
    assert "broken on purpose" in out
    assert "Not there yet: 1 trial; continue with" in out


def test_what_the_file_does_not_ask_for_any_more_is_not_missing(study_file, call, switch):
    switch.write_text(TRIALS_FAIL)
    path = study_file(**sections(switch))
    assert call("run", path)[0] == 1
    changed = sections(switch)
    changed["manual"]["methods"] = ["equal"]
    path = study_file(**changed)
    assert call("run", path)[0] == 0


def test_a_comparison_that_pruning_left_too_few_candidates_says_so(study_file, call):
    path = study_file(
        quota={"learned": 3, "searched": 0},
        manual={"methods": ["equal"]},
        comparison={"seeds": 2, "as_learned": False, "learned": 2},
        training={"epochs": 1},
    )
    study = create_study(load_config(path))
    asked = [study.ask() for _ in study.get_trials(states=[TrialState.WAITING])]
    for trial in asked[1:3]:
        trial.suggest_categorical("kind", ["learned", "searched", "manual"])
        study.tell(trial, state=TrialState.PRUNED)
    status, out, err = call("run", path)
    assert status == 1
    assert (
        "  learned candidate 2 of 2: 1 of 3 learned trials are complete and 2 were pruned; ask for more trials" in out
    )
    (verdict,) = [line for line in out.splitlines() if ": learned-" in line and " equal (" in line]
    assert verdict.endswith(", without learned candidate 2 of 2, which failed or were pruned.")
    assert err.splitlines()[-1] == "sfgsearch: 1 training that the study asks for is missing for good"
    (missing,) = json.loads(call("compare", path, "--json")[1])["missing"]
    assert (missing["kind"], missing["role"], missing["trial"]) == ("learned", "candidate", None)
    assert call("run", path, "--trials", 8)[0] == 0, "more trials are the remedy"
