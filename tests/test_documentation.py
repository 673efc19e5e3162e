"""The documentation: its links lead somewhere, its commands exist, and its code runs."""

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
import torch
from study_reference import SCHEMA

from sfgsearch.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name for name in ("README.md", "studies/README.md", "studies/cluster/README.md", ".github/CONTRIBUTING.md")
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page, language):
    return [code for name, code in _FENCE.findall(page.read_text()) if name == language]


def anchors(page):
    """Return the anchors of a page's headings."""
    headings = re.findall("^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if not link.startswith("https://"):
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_with_their_options(page, capsys):
    for line in "".join(blocks(page, "sh")).splitlines():
        for command in line.split("&&"):
            program, *arguments = shlex.split(command, comments=True) or [""]
            if Path(program).name == "sfgsearch":
                main([arguments[0], "--help"])
                known = capsys.readouterr().out
                assert all(word in known for word in arguments if word.startswith("--")), line


SINGLE_MODULES = {"allocation", "bench"}


def listed_packages():
    """Return the packages of the table in CONTRIBUTING.md in order."""
    table = (ROOT / ".github" / "CONTRIBUTING.md").read_text().partition("## Where things are")[2].partition("\n## ")[0]
    return [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]


def test_packages_import_only_those_above_them_in_the_table():
    packages = listed_packages()
    assert sorted(packages) == sorted(
        SINGLE_MODULES | {path.parent.name for path in (ROOT / "sfgsearch").glob("*/__init__.py")}
    )
    for depth, package in enumerate(packages):
        single = ROOT / "sfgsearch" / f"{package}.py"
        files = [single] if single.exists() else (ROOT / "sfgsearch" / package).rglob("*.py")
        source = "".join(path.read_text() for path in files)
        imported = set(re.findall(r"^\s*(?:from|import) sfgsearch\.(\w+)", source, re.MULTILINE)) & set(packages)
        assert imported <= set(packages[: depth + 1]), package


def test_study_files_that_readers_copy_pass_the_schema():
    written = [tomllib.loads(block) for page in PAGES for block in blocks(page, "toml")]
    assert written
    for study in written:
        jsonschema.validate({"backbone": {"name": "resnet"}, **study}, json.loads(SCHEMA.read_text()))


def run_code(containing=None):
    """Run the Python blocks of the README that contain a text, in order; those without timm by default."""
    chosen = [
        block
        for block in blocks(ROOT / "README.md", "python")
        if (containing in block if containing else "timm" not in block)
    ]
    assert chosen
    for block in chosen:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_code_of_the_readme_runs(study_file, tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    shutil.copy(study_file(), tmp_path / "studies" / "quickstart.toml")
    monkeypatch.chdir(tmp_path)
    run_code()


def test_a_model_of_timm_is_trained_and_exported_as_the_readme_does(tmp_path, monkeypatch):
    pytest.importorskip("timm", reason="needs timm", exc_type=Exception)
    monkeypatch.chdir(tmp_path)
    run_code("timm.create_model")
    predictions = torch.export.load("plain.pt2").module()(torch.rand(2, 3, 64, 64))
    assert {name: tuple(prediction.shape) for name, prediction in predictions.items()} == {"kind": (2, 5), "age": (2,)}
