"""Code of the user's own, named by a study file."""

import sys

import pytest

from sfgsearch import Objective, load_config
from sfgsearch.backbones import backbones
from sfgsearch.errors import ConfigError

CODE = """
from sfgsearch.backbones import VGG, backbones

@backbones.register("{name}")
def mine(image_shape, *, filters: int = 8):
    return VGG(image_shape, [filters, "pool", filters], norm="batch")
"""


def write(path, name):
    path.write_text(CODE.format(name=name))
    return path


def test_a_file_beside_the_study_is_imported_once(study_file):
    path = study_file(study={"imports": ["own_file.py"]}, backbone={"name": "own_file", "plan": None, "filters": 5})
    write(path.parent / "own_file.py", "own_file")
    load_config(path)
    objective = Objective(load_config(path))
    assert objective.experiment.spec.filters == {"conv1": 5, "conv2": 5}


def test_a_module_is_imported(study_file, monkeypatch):
    path = study_file(study={"imports": ["own_module_of_a_test"]}, backbone={"name": "own_module", "plan": None})
    write(path.parent / "own_module_of_a_test.py", "own_module")
    monkeypatch.syspath_prepend(str(path.parent))
    load_config(path)
    assert "own_module" in backbones
    assert "own_module_of_a_test" in sys.modules


@pytest.mark.parametrize(
    ("imports", "message"),
    [
        (["no_such_file.py"], r"study.imports: cannot import 'no_such_file.py': FileNotFoundError"),
        (["no_such_module_at_all"], r"cannot import 'no_such_module_at_all': ModuleNotFoundError"),
        ("mine.py", r"must be a list of modules and Python files, got 'mine.py'"),
        ([3], r"must be a list of modules and Python files, got \[3\]"),
    ],
)
def test_what_cannot_be_imported_is_named(study_file, imports, message):
    with pytest.raises(ConfigError, match=message):
        load_config(study_file(study={"imports": imports}))


def test_code_that_fails_is_named_and_can_be_mended(study_file):
    path = study_file(study={"imports": ["failing.py"]})
    (path.parent / "failing.py").write_text("raise ValueError('not today')")
    with pytest.raises(ConfigError, match=r"cannot import 'failing.py': ValueError: not today"):
        load_config(path)
    (path.parent / "failing.py").write_text("")
    assert load_config(path).study.imports == ("failing.py",)
