"""A study goes on with the data, the network and the code that it was begun with, and with no others."""

import json
import shutil
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from sfgsearch import Objective, create_study, load_config
from sfgsearch.cli import main
from sfgsearch.errors import StudyError
from sfgsearch.search import load_study, missing_finalists, records_of, retrain_finalists
from sfgsearch.search._identity import IDENTITY
from sfgsearch.search._transfer import copy_study
from sfgsearch.workers import Worker

ROWS = 30
REMEDY = "or give study.name a new name"
TASKS = {"kind": {"type": "classification", "num_classes": 3}, "age": {"type": "regression", "scale": 10.0}}


def call(capsys, *arguments):
    """Run a command and return its exit status, standard output and standard error."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def rows():
    random = np.random.default_rng(0)
    return {
        "images": random.random((ROWS, 8, 8), dtype=np.float32),
        "kind": np.arange(ROWS) % 3,
        "age": random.random(ROWS) * 10,
        "part": np.array(["train"] * 18 + ["validation"] * 6 + ["test"] * 6),
    }


@pytest.fixture
def npz_study(study_file, tmp_path):
    """Write a study of an npz file, and return its path with a function that writes the data with changes."""

    def write(**changes):
        np.savez(tmp_path / "data.npz", **{**rows(), **changes})

    write()
    sections = {
        "data": {"name": "npz", "pairs_per_digit": None, "path": "data.npz", "tasks": TASKS, "split": "part"},
        "manual": {"methods": ["equal"]},
        "quota": {"learned": 0, "searched": 0},
        "comparison": {"seeds": 1},
        "training": {"epochs": 1},
    }
    return study_file(**sections), write


def changed(key, index, value):
    values = rows()[key].copy()
    values[index] = value
    return {key: values}


def test_the_same_data_go_on_wherever_they_are(npz_study, tmp_path):
    path, _ = npz_study
    created = create_study(load_config(path))
    identity = created.user_attrs[IDENTITY]
    moved = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy") / "data.npz"
    (tmp_path / "data.npz").unlink()
    again = create_study(load_config(path).with_overrides(data=moved))
    assert again.user_attrs[IDENTITY] == identity
    assert len(again.trials) == len(created.trials)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (changed("images", 0, 0.5), "other pixels in train images"),
        (changed("kind", 20, 0), "other targets of task 'kind' in validation"),
        (changed("age", 29, 3.0), "other targets of task 'age' in test"),
        ({key: values[1:] for key, values in rows().items()}, "17 train images instead of 18"),
        (
            changed("part", 17, "validation"),
            "17 train images instead of 18; 7 validation images instead of 6; the same images are divided",
        ),
        ({"part": rows()["part"][::-1].copy()}, "the same images are divided over the splits, or ordered, in another"),
        ({key: values[::-1].copy() for key, values in rows().items() if key != "part"}, "the same images are divided"),
    ],
)
def test_other_data_are_refused_and_nothing_is_lost(npz_study, changes, what):
    path, write = npz_study
    config = load_config(path)
    create_study(config).optimize(Objective(config), n_trials=1)
    before = [(trial.number, trial.state) for trial in load_study(config).trials]
    write(**changes)
    with pytest.raises(StudyError) as error:
        create_study(load_config(path))
    message = str(error.value)
    assert f"{path}: the data changed since the study 'tiny' was created: {what}" in message
    assert REMEDY in message
    assert "\n" not in message
    assert [(trial.number, trial.state) for trial in load_study(config).trials] == before
    write()
    create_study(load_config(path))


def test_other_classes_are_refused(npz_study):
    path, write = npz_study
    path.write_text(path.read_text().replace("num_classes = 3\n", ""))  # the data count them
    create_study(load_config(path))
    write(**changed("kind", 0, 3))
    with pytest.raises(StudyError, match=r"task 'kind' has 4 classes instead of 3; .*other targets of task 'kind'"):
        create_study(load_config(path))


def test_a_finished_study_is_checked_too(npz_study, capsys):
    path, write = npz_study
    assert call(capsys, "run", path)[0] == 0
    assert call(capsys, "run", path)[0] == 0
    write(**changed("images", 25, 0.25))
    for arguments in (("run", path), ("worker", path), ("launch", path, "--workers", 1)):
        status, out, err = call(capsys, *arguments)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert "other pixels in test images; set them back" in err


def test_records_know_their_data(npz_study):
    path, _ = npz_study
    config = load_config(path)
    objective, created = Objective(config), create_study(config)
    created.optimize(objective, n_trials=1)
    retrain_finalists(objective, records_of(created), missing_finalists(created, config), study=created)
    records = records_of(created).all()
    assert [record.role for record in records] == ["trial", "finalist"]
    assert {record.data_digest for record in records} == {objective.experiment.data.identity.digest}


def test_a_finalist_is_not_retrained_on_other_data(npz_study):
    path, write = npz_study
    config = load_config(path)
    created = create_study(config)
    created.optimize(Objective(config), n_trials=1)
    finalists = missing_finalists(created, config)
    write(**changed("images", 0, 0.5))
    with pytest.raises(StudyError, match=r"trial 0 \(equal\) was trained on other data"):
        retrain_finalists(Objective(config), records_of(created), finalists, study=created)
    assert records_of(created).all("finalist") == []


def test_plain_optimize_refuses_other_data_and_loses_no_trial(npz_study):
    path, write = npz_study
    config = load_config(path)
    create_study(config).enqueue_trial({"kind": "manual"}, user_attrs={"mine": 1})
    write(**changed("images", 0, 0.5))
    opened = load_study(config)
    for _ in range(2):
        with pytest.raises(StudyError, match="other pixels in train images"):
            opened.optimize(Objective(config), n_trials=1)
    waiting = [trial for trial in opened.trials if trial.state is TrialState.WAITING]
    assert sorted(trial.user_attrs.get("mine", 0) for trial in waiting) == [0, 1]
    assert not any("failure" in trial.user_attrs for trial in opened.trials)
    write()
    opened.optimize(Objective(config), n_trials=2)
    done = [trial for trial in opened.trials if trial.state is TrialState.COMPLETE]
    assert sorted(trial.user_attrs.get("mine", 0) for trial in done) == [0, 1]


def test_a_worker_of_other_data_does_not_begin(npz_study):
    path, write = npz_study
    config = load_config(path)
    create_study(config)
    write(**changed("images", 0, 0.5))
    with pytest.raises(StudyError, match="other pixels in train images"):
        Worker(load_study(config), Objective(config))
    assert [trial.state for trial in load_study(config).trials] == [TrialState.WAITING]


def test_a_study_of_ones_own_remembers_its_data_from_the_first_trial_on(npz_study):
    path, write = npz_study
    own = optuna.create_study()
    own.optimize(Objective(load_config(path)), n_trials=1)
    own.optimize(Objective(load_config(path)), n_trials=1)
    write(**changed("kind", 0, 2))
    with pytest.raises(StudyError, match="other targets of task 'kind' in train"):
        own.optimize(Objective(load_config(path)), n_trials=1)


def test_a_copied_study_knows_its_data(npz_study, tmp_path):
    path, write = npz_study
    config = load_config(path)
    created = create_study(config)
    created.optimize(Objective(config), n_trials=1)
    target = f"sqlite:///{tmp_path / 'copy.db'}"
    copy_study(config.storage, target, "tiny")
    there = config.with_overrides(storage=target)
    assert records_of(create_study(there)).all() == records_of(created).all()
    assert records_of(created).all()[0].weights_digest
    write(**changed("kind", 0, 2))
    with pytest.raises(StudyError, match="other targets of task 'kind' in train"):
        create_study(there)


BACKBONE = """
from sfgsearch.backbones import VGG, backbones

@backbones.register("{name}")
def mine(image_shape, *, filters: int = 8):
    return VGG(image_shape, [filters, "pool", filters + {more}], norm="batch")
"""


@pytest.fixture
def own_code(study_file, tmp_path):
    """Return a function that writes code of one's own and returns the study file that names it."""

    def write(name, code):
        path = study_file(
            study={"imports": ["mine.py"]},
            backbone={"name": name, "plan": None},
            manual={"methods": ["equal"]},
            quota={"learned": 0, "searched": 0},
            training={"epochs": 1},
            comparison={"seeds": 1},
        )
        (tmp_path / "mine.py").write_text(code)
        return path

    return write


def run(path):
    """Run a study in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "sfgsearch", "run", str(path)], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_changes_of_code_are_noted_and_those_of_the_network_refused(own_code, capsys):
    code = BACKBONE.format(name="own_identity", more=0)
    path = own_code("own_identity", code)
    status, _, err = call(capsys, "run", path)
    assert (status, "last continued" in err) == (0, False)
    own_code("own_identity", code + "# a thought\n")
    status, err = run(path)
    assert status == 0, err
    (line,) = [line for line in err.splitlines() if "last continued" in line]
    assert "mine.py changed since the study was last continued" in line
    status, _, err = call(capsys, "run", path)
    assert (status, "last continued" in err) == (0, False), "said once"
    own_code("own_identity", BACKBONE.format(name="own_identity", more=1))
    status, err = run(path)
    assert status == 2
    assert err.count("\n") == 1
    assert "the network changed since the study 'tiny' was created: it has" in err
    assert "parameters instead of" in err
    assert REMEDY in err


def test_parameters_of_other_shapes_are_told_from_as_many_others(study):
    config = study(backbone={"plan": [4, "pool", 6]}, manual={"methods": ["equal"]})
    created = create_study(config)
    identity = json.loads(created.user_attrs[IDENTITY])
    identity["network"]["digest"] = "0" * 16
    created.set_user_attr(IDENTITY, json.dumps(identity))
    with pytest.raises(StudyError, match=r"network changed .* parameters of other names or shapes; set the code of"):
        create_study(config)


def test_modules_and_packages_are_code_too(study_file, tmp_path, monkeypatch):
    (tmp_path / "package_of_a_test").mkdir()
    inner = tmp_path / "package_of_a_test" / "inner.py"
    (tmp_path / "package_of_a_test" / "__init__.py").write_text("from package_of_a_test import inner\n")
    module = tmp_path / "module_of_another_test.py"
    for file in (inner, module):
        file.write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = study_file(study={"imports": ["package_of_a_test", "module_of_another_test", "math"]})
    notes = []
    for file in (None, inner, module):
        if file:
            file.write_text("VALUE = 2\n")
        for _ in range(2):
            create_study(load_config(path), note=notes.append)
    assert len(notes) == 2
    assert "package_of_a_test changed" in notes[0]
    assert "module_of_another_test changed" in notes[1]


def test_what_a_study_remembers_is_short(study):
    created = create_study(study())
    assert len(created.user_attrs[IDENTITY]) < 1500
