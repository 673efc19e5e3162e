"""Fixtures of tiny studies on real digits: a trial takes well under a second."""

import functools
from pathlib import Path
from typing import Any

import pytest
import tomlkit

import sfgsearch

TINY: dict[str, Any] = {
    "data": {"name": "digit_pairs", "pairs_per_digit": 1},
    "backbone": {"name": "vgg_small", "plan": [4, "pool", 6]},
    "training": {
        "epochs": 2,
        "batch_size": 540,
        "lr": 0.01,
        "device": "cpu",
        "threads": 1,
        "calibration_batches": 1,
        "monte_carlo_samples": 2,
    },
    "quota": {"learned": 2, "searched": 2},
    "manual": {"options": {"constant_probabilities": {"samples": 2}}},
    "learned": {"lr": {"low": 0.01, "high": 0.1, "log": True}, "kl_weight": [0.1, 1.0]},
    "comparison": {"seeds": 2, "match": "none"},
    "review": {"pictures": False},
}

DIVERGING: dict[str, Any] = {
    "study": {"imports": [str(Path(__file__).parent / "wild_digits.py")]},
    "data": {"name": "wild_digits"},
}
"""Sections of a study whose losses are not finite from the first step on."""


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return nested sections with changes; a key that is changed to None goes away."""
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(merged.get(key, {}), value) if isinstance(value, dict) else value
    return {key: value for key, value in merged.items() if value is not None}


def write_study(folder: Path, **sections: Any) -> Path:
    """Write the tiny study with changed sections into a file, and return its path."""
    path = folder / "tiny.toml"
    path.write_text(tomlkit.dumps(merge(TINY, sections)))
    return path


@pytest.fixture
def study_file(tmp_path):
    """Return a function that writes the tiny study with changed sections, and returns its path."""
    return functools.partial(write_study, tmp_path)


@pytest.fixture
def study(study_file):
    """Return the configuration of the tiny study with changed sections."""

    def read(**sections: Any):
        return sfgsearch.load_config(study_file(**sections))

    return read


@pytest.fixture(scope="session")
def trained_study(tmp_path_factory):
    """Train a tiny study of every kind to its end, finalists included, once for all that only read it.

    The file asks for one finalist of each sort per trial, of seed 1, and for a learned one that is learned again.
    """
    from sfgsearch.search import (
        missing_finalists,
        records_of,
        retrain_finalists,
    )  # slow, and not needed to hand out tests

    changes = {
        "manual": {"methods": ["equal", "constant_probabilities"]},
        "quota": {"learned": 1, "searched": 1},
        "comparison": {"seeds": 1, "as_learned": True},
        "training": {"epochs": 1},
        "review": None,
    }
    path = write_study(tmp_path_factory.mktemp("trained"), **changes)
    config = sfgsearch.load_config(path)
    objective = sfgsearch.Objective(config)
    created = sfgsearch.create_study(config, objective=objective)
    created.optimize(objective, n_trials=4)
    retrain_finalists(objective, records_of(created), missing_finalists(created, config), study=created)
    return path
