"""What must not be loaded, shown by making it unimportable in a fresh process."""

import subprocess
import sys

import pytest

import sfgsearch
from sfgsearch.cli import main

SEARCH = ("optuna", "sqlalchemy", "pydantic")
SCIENCE = ("scipy", "sklearn", "pandas", "mlxtend", "torchmetrics")
DRAWING = ("matplotlib", "plotly", "optuna_dashboard")

WITHOUT = [
    ("import sfgsearch", ("torch", "numpy", "click", "rich", *SEARCH, *SCIENCE, *DRAWING)),
    ("import sfgsearch.cli", ("torch", "numpy", "rich", *SEARCH, *SCIENCE, *DRAWING)),
    ("from sfgsearch import Allocation", ("torch", *SEARCH, *SCIENCE, *DRAWING)),
    ("from sfgsearch import Config, load_config", ("torch", *SCIENCE, *DRAWING)),
    ("import sfgsearch.nn", (*SEARCH, *SCIENCE, *DRAWING)),
    ("import sfgsearch.tasks, sfgsearch.methods, sfgsearch.backbones", ("optuna", "sqlalchemy", *SCIENCE, *DRAWING)),
    ("import sfgsearch.training", ("optuna", "sqlalchemy", *SCIENCE, *DRAWING)),
    ("from sfgsearch import Objective, create_study", ("sklearn", "mlxtend", "torchmetrics", *DRAWING)),
    ("import sfgsearch.reporting", ("sklearn", "mlxtend")),
]


def run_without(unimportable, code, *arguments):
    """Run Python in a process where some packages cannot be imported, and return its standard output."""
    forbid = f"import sys; sys.modules.update(dict.fromkeys({unimportable!r}))\n"
    command = [sys.executable, "-c", forbid + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("code", "unimportable"),
    [pytest.param(*case, id=case[0], marks=() if "torch" in case[1] else pytest.mark.slow) for case in WITHOUT],
)
def test_a_part_loads_what_it_needs_only(code, unimportable):
    run_without(unimportable, code)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'sfgsearch' has no attribute 'nonsense'"):
        sfgsearch.nonsense  # noqa: B018
    assert set(sfgsearch.__all__) <= set(dir(sfgsearch))
    assert all(hasattr(sfgsearch, name) for name in sfgsearch.__all__)


COMMAND = "from sfgsearch.cli import main; main()"


def test_the_list_of_commands_has_their_first_sentences(capsys):
    listed = run_without(("torch", *SEARCH), COMMAND, "--help").split("Commands:")[1]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names == ["run", "worker", "launch", "status", "compare", "show", "dashboard", "export", "bench"]
    for name in names:
        main([name, "--help"])
        description = " ".join(capsys.readouterr().out.split()).partition("STUDY.toml ")[2]
        assert f"{name} {description.partition('. ')[0]}." in " ".join(listed.split())


@pytest.mark.parametrize("arguments", [("status",), ("show", "--trial", "0")], ids=["status", "show"])
def test_a_study_is_looked_at_without_torch(trained_study, arguments):
    command, *options = arguments
    printed = run_without(("torch", *SCIENCE, *DRAWING), COMMAND, command, trained_study, *options)
    assert "manual" in printed


BROKEN = """
raise RuntimeError("operator torchvision::nms does not exist")
"""
TRAIN = """
import sys
from sfgsearch import Objective, create_study, load_config
config = load_config(sys.argv[1])
study = create_study(config, "sqlite://")
study.optimize(Objective(config), n_trials=1)
print(study.trials[0].state.name)
"""


@pytest.mark.slow
def test_a_broken_torchvision_breaks_nothing(study_file, tmp_path):
    """As one that pip installed for another torch."""
    site = tmp_path / "site"
    for folder, file, text in (
        ("torchvision", "__init__.py", BROKEN),
        ("torchvision-0.1.dist-info", "METADATA", "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n"),
    ):
        (site / folder).mkdir(parents=True)
        (site / folder / file).write_text(text)
    path = study_file(training={"epochs": 1}, quota={"learned": 1, "searched": 0}, manual={"methods": []})
    printed = run_without((), f"sys.path.insert(0, {str(site)!r})\n" + TRAIN, path)
    assert printed.split()[-1] == "COMPLETE"
