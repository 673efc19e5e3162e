"""``sfgsearch bench`` in small."""

import json

import pytest
import torch

from sfgsearch.cli import main

METHODS = ["hard_sharing", "equal", "learned", "searched"]


@pytest.fixture
def small(study_file):
    return study_file(manual={"methods": ["equal"]}, training={"batch_size": 8, "epochs": 2})


def test_every_method_has_a_row_for_every_number_of_tasks(small, capsys):
    main(["bench", str(small), "--tasks", "1,2", "--seconds", "0.01", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["tasks"], row["method"]) for row in rows] == [(tasks, name) for tasks in (1, 2) for name in METHODS]
    for row in rows:
        assert set(row) == {"method", "tasks", "ms", "ratio", "macs", "peak_bytes"}
        assert row["ms"] > 0
        assert row["peak_bytes"] > 0
        assert row["method"] != "hard_sharing" or row["ratio"] == 1
    macs = {(row["method"], row["tasks"]): row["macs"] for row in rows}
    assert macs["equal", 2] == macs["searched", 2] < macs["hard_sharing", 2]


def test_people_read_a_table_and_the_time_that_the_study_takes(small, capsys):
    main(["bench", str(small), "--seconds", "0.01"])
    out = capsys.readouterr().out
    assert "hard_sharing" in out
    assert "All trials and finalists, one after another: about" in out


def test_an_allocation_for_other_tasks_is_left_out_with_a_note(study_file, capsys):
    path = study_file(manual={"methods": [], "allocations": {"mine": {"*": [0.25, 0.25, 0.5]}}})
    main(["bench", str(path), "--tasks", "2,3", "--seconds", "0.01", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["tasks"] for row in found["rows"] if row["method"] == "mine"] == [2]
    (note,) = found["notes"]
    assert note.startswith("mine with 3 tasks: ")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--tasks", "4,none"], "is not a list such as 1,2,4"),
        (["--tasks", "0"], "is not a list such as 1,2,4"),
        (["--seconds", "0"], "--seconds"),
    ],
)
def test_bad_options_end_in_one_line(small, options, reason, capsys):
    with pytest.raises(SystemExit) as left:
        main(["bench", str(small), *options])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert reason in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(("has_bf16", "noted"), [(False, True), (True, False)])
def test_a_processor_without_bf16_is_noted(study_file, has_bf16, noted, monkeypatch, capsys):
    capabilities = {"architecture": "x86_64", "avx512_bf16": has_bf16}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    path = study_file(manual={"methods": []}, training={"batch_size": 8, "precision": "bf16"})
    main(["bench", str(path), "--seconds", "0.01"])
    assert ("precision: cpu has no instructions for bf16" in capsys.readouterr().out) == noted
