"""Reports: complete, readable from disk without a network, and without anything that is secret or alive in them."""

import re
import tomllib
from html.parser import HTMLParser

import pytest
import torch
from made_up_studies import make_study
from PIL import Image

from sfgsearch import load_config
from sfgsearch.comparison import StudyStatus
from sfgsearch.comparison._status import Failure, KindStatus
from sfgsearch.data import InMemory, MultiTaskData
from sfgsearch.errors import ReportError
from sfgsearch.reporting._note import study_note
from sfgsearch.reporting._report import Report, canonical_settings, check_report_path, command, write_report
from sfgsearch.tasks import Classification, Regression
from sfgsearch.visualization.data import best_allocations

EVIL = '<script>alert("x")</script> & *stars* | $y$'
ERRORS = {"learned": [0.10, 0.11, 0.12], "searched": [0.20, 0.22, 0.21], "manual": [0.30, 0.32, 0.31]}
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects the elements and the visible text of a page, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.text.append(data)


def labelled():
    """Return the identity of data with names of classes, and with labels that are missing."""
    targets = {"sex": torch.tensor([0, 1, -1, 1]), "age": torch.tensor([1.0, float("nan"), 2.0, 3.0])}
    split = InMemory(torch.zeros(4, 1, 2, 2), targets)
    tasks = (Classification("sex", classes=("female", EVIL)), Regression("age", unit="years"))
    return MultiTaskData(tasks, split, split, split).identity


@pytest.fixture
def report(study):
    """Return a function that makes the report of a made-up study."""

    def make(errors=ERRORS, name=EVIL, storage=None, reason="no memory", **options):
        config = study(study={"storage": storage} if storage else {})
        made = make_study(errors, name=name, relearned=0.05, **options)
        kinds = tuple(KindStatus(kind, 2, complete=2) for kind in ("learned", "searched", "manual"))
        failures = (Failure("trial/9", EVIL, reason, False),)
        status = StudyStatus(name, kinds, (9, 9), (), failures, 0.0)
        allocations = [(one.name, one.allocation) for one in best_allocations(made.study, made.comparison)]
        note = study_note(made.comparison, made.study.get_trials(), allocations[0], status)
        return Report(made.study, config, made.comparison, status, note, allocations, labelled())

    return make


def test_the_page_is_one_file_that_loads_nothing(report, tmp_path):
    (file,) = write_report(report(), tmp_path / "report.html")
    page = Page(file.read_text())
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "img"), tag
        assert not {"src", "href", "srcset"} & set(attributes), (tag, attributes)
    policy = next(one["content"] for tag, one in page.elements if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert file.read_text().count("plotly.js v") == 1
    styles = re.findall(r"<style>(.*?)</style>", file.read_text(), re.S)
    assert not any("url(" in style or "@import" in style for style in styles)
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report.html"]


def test_the_page_says_what_was_measured(report, tmp_path):
    (file,) = write_report(report(), tmp_path / "report.html")
    source = file.read_text()
    page = Page(source)
    text = " ".join("".join(page.text).split())
    for words in ("SFG wins: learned-3", "11.0 ±2.5", "learned-3 monte carlo", "-10.0 points", "conv4", "no memory"):
        assert words in text
    assert f"female, {EVIL}" in text
    assert text.count("3 of 4") == 6
    assert f"Digest of images, targets and classes: {labelled().digest}." in text
    headings = [index for index, (tag, _) in enumerate(page.elements) if tag == "h2"]
    assert len(headings) >= 8
    figures = [one["id"] for tag, one in page.elements if one.get("id", "").startswith("figure-")]
    assert figures == [f"figure-{name}" for name in ("comparison", "pareto", "allocations", "tuning", "budget")]
    assert source.count("Plotly.newPlot(") >= 5


def test_names_stay_text(report, tmp_path):
    (file,) = write_report(report(), tmp_path / "report.html")
    source = file.read_text()
    assert "<script>alert" not in source
    assert EVIL in "".join(Page(source).text)


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_layers_of_large_networks_are_folded_up(report, tmp_path, suffix):
    file, *_ = write_report(report(layers=30), tmp_path / f"report{suffix}")
    shown, _, folded = file.read_text().partition("<details>")
    assert "Filters of the best of each kind by stage" in shown
    assert "Filters of the best of each kind by layer" in folded.partition("</details>")[0]
    file, *_ = write_report(report(layers=20), tmp_path / f"small{suffix}")
    assert "<details>" not in file.read_text()


def test_markdown_has_its_pictures_beside_it(report, tmp_path):
    file, *pictures = write_report(report(), tmp_path / "my report.md")
    text = file.read_text()
    links = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
    assert links == [f"my%20report_files/{picture.name}" for picture in pictures]
    assert len(pictures) == 5
    for picture in pictures:
        assert picture.parent == tmp_path / "my report_files"
        with Image.open(picture) as image:
            assert image.width > 800
    assert "| learned | learned-3 | 3 |" in text
    assert r"\<script\>alert" in text
    assert "<script>" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    again = write_report(report(), tmp_path / "my report.md")
    assert len(again) == 6
    assert len(list(pictures[0].parent.iterdir())) == 5


@pytest.mark.parametrize("errors", [{}, {"learned": [0.1]}, {"searched": [0.1, 0.2], "manual": [0.1, 0.3]}])
@pytest.mark.parametrize("suffix", ["html", "md"])
def test_reports_of_unfinished_studies(report, tmp_path, errors, suffix):
    file = write_report(report(errors), tmp_path / f"report.{suffix}")[0]
    assert "What was found" in file.read_text()


def test_passwords_stay_out(report, tmp_path):
    url = "postgresql+psycopg://user:geheim42@host/db?sslpassword=auchgeheim"
    found = report(storage=url, reason=f"cannot reach {url}: password geheim42 is wrong")
    for suffix in ("html", "md"):
        text = write_report(found, tmp_path / f"report.{suffix}")[0].read_text()
        assert "geheim" not in text
        assert "is wrong" in text


def test_the_settings_are_a_study_file_again(study, tmp_path):
    config = study(tasks={"first": {"weight": 2.0}}, learned={"prior": {"family": ["uniform", "linear"]}})
    text = canonical_settings(config.with_overrides(seed=7))
    path = tmp_path / "again.toml"
    path.write_text(text)
    again = load_config(path)
    assert again.study.seed == 7
    assert again.model_dump(exclude={"study"}) == config.model_dump(exclude={"study"})
    assert tomllib.loads(text)["training"]["batch_size"] == 540
    assert command(config) == "sfgsearch run tiny.toml"
    assert command(config.with_overrides(trials=5)).endswith(" --trials 5")


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.html.bak"])
def test_other_suffixes_are_refused_in_one_line(tmp_path, name):
    with pytest.raises(ReportError, match=r"a report is \.html or \.md") as refused:
        check_report_path(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_a_report_that_cannot_be_written_leaves_nothing(report, tmp_path):
    with pytest.raises(ReportError, match="there is no folder"):
        write_report(report(), tmp_path / "nowhere" / "report.md")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_report(report(), tmp_path / "report.html")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "tiny.toml"}
