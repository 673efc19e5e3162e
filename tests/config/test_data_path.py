"""Where data are: in the study file, on the command line, and in studies that continue."""

from pathlib import Path

import numpy as np
import pytest

from sfgsearch import create_study, load_config
from sfgsearch.cli import main
from sfgsearch.config import build_experiment
from sfgsearch.errors import ConfigError, StudyError


@pytest.fixture
def write_data(tmp_path):
    def write(name):
        rows = np.arange(40)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=np.random.default_rng(0).random((40, 6, 6)), a=rows % 2, b=rows)
        return path

    return write


@pytest.fixture
def sections():
    tasks = {"a": {"type": "classification"}, "b": {"type": "regression", "scale": 40}}
    return {"data": {"name": "npz", "pairs_per_digit": None, "tasks": tasks}}


def with_path(sections, path):
    return {"data": {**sections["data"], "path": path}}


def test_a_path_in_the_file_counts_from_its_folder(study, sections, write_data, tmp_path, monkeypatch):
    write_data("own/images.npz")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = study(**with_path(sections, "own/images.npz"))
    assert config.data_options["path"] == str(tmp_path / "own" / "images.npz")
    assert len(build_experiment(config).data.train) == 28


def test_absolute_paths_and_homes_are_kept(study, sections, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert study(**with_path(sections, "/data/a.npz")).data_options["path"] == "/data/a.npz"
    assert study(**with_path(sections, "~/a.npz")).data_options["path"] == str(tmp_path / "me" / "a.npz")


def test_an_override_counts_from_the_working_directory(study, sections, write_data, tmp_path, monkeypatch):
    path = write_data("elsewhere/images.npz")
    monkeypatch.chdir(path.parent)
    config = study(**with_path(sections, "absent.npz"))
    changed = config.with_overrides(data="images.npz")
    assert changed.data_options["path"] == str(path)
    assert changed.data.options["tasks"] == config.data.options["tasks"]
    assert build_experiment(changed).spec.task_names == ("a", "b")
    assert config.data_options["path"] == str(tmp_path / "absent.npz")


def test_data_sets_without_a_path_refuse_one(study):
    with pytest.raises(ValueError, match="'digit_pairs' takes no path"):
        study().with_overrides(data="here")
    with pytest.raises(ConfigError, match=r"data\.path: unknown key"):
        build_experiment(study(data={"path": "here"}))


def test_a_missing_path_says_how_to_give_one(study, sections):
    with pytest.raises(ConfigError, match=r"data\.path: npz reads your own copy: set data\.path or use --data PATH"):
        build_experiment(study(**sections))


def test_a_study_continues_with_data_elsewhere(study, sections, write_data):
    write_data("one.npz")
    write_data("two.npz")
    create_study(study(**with_path(sections, "one.npz")))
    assert len(create_study(study(**with_path(sections, "two.npz"))).trials) == 8
    tasks = {**sections["data"]["tasks"], "b": {"type": "regression", "scale": 20}}
    with pytest.raises(StudyError, match=r"data\.tasks\.b\.scale is 20"):
        create_study(study(**with_path({"data": {**sections["data"], "tasks": tasks}}, "two.npz")))


def test_the_command_line_takes_a_path(study_file, sections, write_data, capsys, monkeypatch, tmp_path):
    small = {"manual": {"methods": ["equal"]}, "quota": {"learned": 0, "searched": 0}, "comparison": {"seeds": 1}}
    path, data = study_file(**sections, **small), write_data("elsewhere/images.npz")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(path)])
    assert "use --data PATH" in capsys.readouterr().err
    main(["run", str(path), "--data", str(data.relative_to(tmp_path))])
    assert Path(load_config(path).folder / "study.db").exists()


def test_the_command_line_names_data_sets_without_a_path(study_file, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(study_file()), "--data", "here"])
    assert "'digit_pairs' takes no path" in capsys.readouterr().err
