"""The examples in studies/examples, each run with tiny settings."""

import json
import runpy
from pathlib import Path

import pytest
import tomlkit
from optuna.trial import TrialState
from study_fixtures import merge

from sfgsearch.cli import main
from sfgsearch.config import load_config
from sfgsearch.search import load_study

EXAMPLES = Path(__file__).parents[2] / "studies" / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / name))["main"]


@pytest.fixture
def small_study_of_own_parts(tmp_path):
    """Return the example's study file with fewer images, epochs and trials."""
    sections = tomlkit.parse((EXAMPLES / "own.toml").read_text()).unwrap()
    smaller = {
        "study": {"imports": [str(EXAMPLES / name) for name in sections["study"]["imports"]]},
        "data": {"images": 300},
        "training": {"epochs": 1, "device": "cpu", "threads": 1},
        "quota": {"learned": 1, "searched": 1},
        "comparison": {"seeds": 1, "match": "none"},
        "review": {"pictures": False},
    }
    path = tmp_path / "own.toml"
    path.write_text(tomlkit.dumps(merge(sections, smaller)))
    return path


@pytest.mark.slow
def test_a_study_of_own_data_network_and_method(small_study_of_own_parts, capsys):
    main(["run", str(small_study_of_own_parts)])
    study = load_study(load_config(small_study_of_own_parts))
    assert {trial.params["kind"] for trial in study.trials} == {"learned", "searched", "manual"}
    shown = {}
    for trial in study.trials:
        capsys.readouterr()
        main(["show", str(small_study_of_own_parts), "--trial", str(trial.number), "--json"])
        description = json.loads(capsys.readouterr().out)
        shown[description["name"]] = description["allocation"]
    assert shown["random_shares"] != shown["hard_sharing"]
    assert shown["random_shares"]["groups"] == ["digit", "ink", "shared"]
    for layer in shown["random_shares"]["layers"]:
        assert layer["counts"][-1] >= 0.15 * sum(layer["counts"])


def test_the_example_that_ships_is_a_valid_study():
    assert load_config(EXAMPLES / "own.toml").manual.options == {"random_shares": {"least": 0.2}}


def test_a_training_loop_of_its_own_moves_probabilities():
    net = load("training_loop.py")(epochs=1)
    shared = net.conv1.groups.probs[:, -1].mean().item()
    assert shared > 0.51


def test_plain_optuna_with_a_sampler_of_its_own(study_file):
    study = load("plain_optuna.py")(study_file(), trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
