"""The note of a study: right when SFG wins, loses or is not told apart, and when there is little to tell."""

import pytest
from made_up_studies import make_study

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.comparison import Missing, Shortfall, StudyStatus
from sfgsearch.comparison._status import KindStatus
from sfgsearch.reporting._note import escape_markdown, note_markdown, study_note
from sfgsearch.visualization.data import best_allocations

WIN = {"learned": [0.10, 0.11, 0.12], "searched": [0.20, 0.22, 0.21], "manual": [0.30, 0.32, 0.31]}
LABELS = ["Result", "Relative error", "Cost", "Learned sharing", "Caveats"]


def note(errors, *, status=None, **options):
    """Return the note of a made-up study by label."""
    made = make_study(errors, **options)
    best = [one for one in best_allocations(made.study, made.comparison) if one.kind == "learned"]
    allocation = (best[0].name, best[0].allocation) if best else None
    lines = study_note(made.comparison, made.study.get_trials(), allocation, status)
    assert [line.label for line in lines] == LABELS
    return {line.label: line.text for line in lines}


def test_sfg_wins():
    found = note(WIN, relearned=0.05)
    assert found["Result"].startswith("SFG wins: learned-3 wins against searched-4 (-10.0 ±2.5, p = 0.0033)")
    assert "and manual-5 (-20.0 ±" in found["Result"]
    assert "learned 11.0 ±2.5 % (learned-3)" in found["Relative error"]
    assert "3 seeds" in found["Relative error"]
    assert "3 seeds resolve only large differences" in found["Caveats"]
    assert "weaker (derived 16.0 %, Monte Carlo 16.0 %) than retrained (11.0 %)" in found["Caveats"]
    assert "learned 2 trials in 20 s" in found["Cost"]


def test_sfg_loses():
    found = note({"learned": [0.30, 0.31, 0.33], "searched": [0.10, 0.11, 0.12], "manual": [0.20, 0.22, 0.21]})
    assert found["Result"].startswith("SFG loses: learned-3 loses to searched-4 (+20.3 ±1.4, p < 0.001)")
    assert "weaker" not in found["Caveats"], "it was not learned again"


def test_nothing_is_resolved():
    level = {"learned": [0.1, 0.3, 0.2], "searched": [0.2, 0.15, 0.25], "manual": [0.2, 0.2, 0.2]}
    found = note(level)
    assert found["Result"].startswith("No winner: ")
    assert "is not told apart from searched-4 (-0.0 ±32.9, p = 1) and manual-5" in found["Result"]


@pytest.mark.parametrize(
    ("other", "verdict"), [([0.11, 0.12, 0.10], "SFG wins in part"), ([0, 0, 0.01], "SFG does not")]
)
def test_sfg_wins_against_one_only(other, verdict):
    assert note({**WIN, "searched": other})["Result"].startswith(verdict)


def test_one_seed_decides_nothing():
    found = note({kind: errors[:1] for kind, errors in WIN.items()})
    assert found["Result"].startswith("Nothing is decided: ")
    assert "too few seeds in common with searched-4 (1) and manual-5 (1)" in found["Result"]
    assert "±" not in found["Relative error"]
    assert "one seed" in found["Relative error"]
    assert found["Caveats"].startswith("A single seed has no interval")


def test_before_there_are_finalists_the_best_trials_are_told_as_such():
    found = note({})
    assert found["Result"] == "Nothing is decided: no finalist yet, 6 of 6 trials are complete."
    assert found["Relative error"].startswith("Best trials so far: learned ")
    assert "validation data" in found["Relative error"]
    assert "optimistic" in found["Caveats"]


def test_a_study_that_has_just_begun():
    found = note({}, trials=0)
    assert found["Relative error"] == "No trial is complete yet."
    assert found["Cost"] == "No trial is over yet."
    assert found["Learned sharing"] == "No learned trial is complete yet."


@pytest.mark.parametrize("missing", ["learned", "searched", "manual"])
def test_one_kind_is_missing(missing):
    found = note({kind: errors for kind, errors in WIN.items() if kind != missing})
    assert f"{missing}: no finalist" in found["Relative error"]
    assert f"no finalist is {missing}" in found["Caveats"].lower()
    assert missing == "learned" or f"({missing})" not in found["Result"]
    assert (missing == "learned") == found["Result"].startswith("No learned finalist; ")


def test_a_single_kind_is_compared_with_nothing():
    found = note({"learned": WIN["learned"]})
    assert found["Result"].endswith("no finalist of another kind to be compared with.")


def test_what_failed_and_what_is_missing_is_told():
    kinds = (KindStatus("learned", 3, complete=1, running=1), KindStatus("searched", 1), KindStatus("manual", 1))
    status = StudyStatus("demo", kinds, (3, 3), (), (), None)
    lost = [Missing("manual", f"mine-{number}", number, None, "trial", "no\nmemory") for number in range(7)]
    found = note(WIN, status=status, shortfall=Shortfall(tuple(lost), 1, 0))
    assert "missing for good: mine-0 (manual), trial 0: no memory; missing for good: mine-1" in found["Caveats"]
    assert "missing for good: 2 more; 1 trial is still to be trained" in found["Caveats"]
    assert found["Result"].endswith("; without mine-0, mine-1, mine-2 and 4 more, which failed.")
    over = StudyStatus("demo", (), (3, 9), (), (), None)
    assert "6 of 9 retrainings of finalists are missing" in note(WIN, status=over)["Caveats"]


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        ([8, 6, 4, 1], "the task-specific part grows with depth"),
        ([1, 4, 6, 8], "the shared part grows with depth"),
        ([4, 4, 4, 4], "sharing is about level over depth"),
        ([1, 8, 1, 2], "there is no trend over depth"),
        ([5], "of its only layer, conv0"),
    ],
)
def test_the_shape_of_sharing_by_depth(shared, words):
    layers = tuple(LayerAllocation(f"conv{i}", (10 - count, 0, count)) for i, count in enumerate(shared))
    made = make_study(WIN)
    lines = study_note(made.comparison, [], ("best", Allocation(("a", "b", "shared"), layers)))
    assert words in lines[3].text


def test_names_are_escaped_in_markdown():
    assert escape_markdown("a*b <script>\n[x](y) hard_sharing _x_") == r"a\*b \<script\> \[x\](y) hard_sharing \_x\_"
    made = make_study(WIN, name="demo")
    text = note_markdown(study_note(made.comparison, []))
    assert len(text.splitlines()) == 5
    assert all(line.startswith("- **") for line in text.splitlines())
