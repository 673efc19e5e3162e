"""A study with a manual method whose trainings fail, or kill their process, as long as a file says so."""

from pathlib import Path

TRIALS_FAIL, FINALISTS_FAIL, TRIALS_DIE = "trials fail", "finalists fail", "trials die"
"""What the file may say."""


def sections(switch):
    """Return the sections of a study file with that method, two others, and the file."""
    return {
        "study": {"imports": [str(Path(__file__).resolve().with_name("faulty_method.py"))]},
        "manual": {"methods": ["faulty", "equal"], "options": {"faulty": {"switch": str(switch)}}},
        "quota": {"learned": 1, "searched": 0},
        "comparison": {"seeds": 2, "as_learned": False, "match": "none"},
        "training": {"epochs": 1},
        "execution": {"retries": 1},
    }
