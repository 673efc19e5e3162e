"""The report of a study: one page that opens without a network, or Markdown with pictures beside it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from sfgsearch import visualization
from sfgsearch._files import drafts_of
from sfgsearch.allocation import Allocation
from sfgsearch.comparison._comparison import Comparison
from sfgsearch.comparison._status import StudyStatus
from sfgsearch.config import Config
from sfgsearch.data import DataIdentity
from sfgsearch.errors import ReportError
from sfgsearch.reporting._note import NoteLine
from sfgsearch.reporting._study_tables import report_tables
from sfgsearch.reporting._table import Table, escape_markdown
from sfgsearch.storage import redact

if TYPE_CHECKING:
    from types import ModuleType


import platform
from importlib.metadata import version

import tomlkit

from sfgsearch._version import __version__
from sfgsearch.storage import display_url

HTML, MARKDOWN = ".html", ".md"
_SUFFIXES = (HTML, MARKDOWN)
_DPI = 120

_CAPTIONS = {
    "comparison": "Learned, searched and manual on test data, mean and 95 % interval over seeds; derived and Monte "
    "Carlo at the study's width.",
    "pareto": "Quality against cost at the study's width. Faint: trials on validation data, one seed; strong: "
    "finalists on test data.",
    "allocations": "Every group's part of the filters, by layer; the first layer is on top.",
    "tuning": "What tuning did, among learned trials only.",
    "budget": "The best relative error on validation data so far, by training time and by trials.",
}
"""By the figure's name, in the order of the report."""


@dataclass(frozen=True)
class Report:
    """Contents of a report.

    Args:
        study: The study.
        config: Its file, with what the study was told beyond it.
        comparison: Its finalists.
        status: How far it is.
        note: What was found.
        allocations: Name and allocation of the best of each kind.
        data: Which data it saw, where that is known.
    """

    study: optuna.Study
    config: Config
    comparison: Comparison
    status: StudyStatus
    note: Sequence[NoteLine]
    allocations: Sequence[tuple[str, Allocation]]
    data: DataIdentity | None = None

    @property
    def words(self) -> dict[str, Any]:
        """All but the figures, as templates take it; nothing is escaped yet."""
        tables = list(report_tables(self.comparison, self.status, self.allocations, self.data))
        return {
            "title": self.comparison.study,
            "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "note": list(self.note),
            "verdicts": self.comparison.verdicts(),
            "tables": [_redacted(table, self.config.storage) for table in tables],
            "captions": _CAPTIONS,
            "settings": canonical_settings(self.config),
            "versions": versions(),
            "command": command(self.config),
            "file": self.config.path.name,
        }


def _redacted(table: Table, url: str) -> Table:
    """Return a table without what is secret in the URL, which the reason of a failure may quote."""
    return replace(table, rows=[[redact(cell, url) for cell in row] for row in table.rows])


def check_report_path(path: Path) -> None:
    """Check that a report can be written there, before anything is read.

    Raises:
        ReportError: If the suffix is none that reports have, or the folder is missing.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ReportError(
            f"--output {path}: a report is {' or '.join(_SUFFIXES)}, not {path.suffix or 'without suffix'}"
        )
    if not path.parent.is_dir():
        raise ReportError(f"--output {path}: there is no folder {path.parent}; create it first")


def write_report(report: Report, path: Path) -> list[Path]:
    """Write a report; a file that exists is replaced in one step.

    Args:
        report: What it shows.
        path: A file that ends in .html, or in .md; the pictures of the latter come into a folder beside it.

    Returns:
        The files that were written, the report first.

    Raises:
        ReportError: If the suffix is none of these, or the folder is missing.
    """
    check_report_path(path)
    if path.suffix.lower() == HTML:
        with drafts_of(path) as (draft,):
            draft.write_bytes(_html(report).encode())
        return [path]
    folder = path.with_name(f"{path.stem}_files")
    folder.mkdir(exist_ok=True)
    pictures = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands in for it
        for name, figure in _figures(report, visualization.matplotlib).items():
            pictures[name] = folder / f"{name}.png"
            with drafts_of(pictures[name]) as (draft,):
                figure.savefig(draft, format="png", dpi=_DPI)
    with drafts_of(path) as (draft,):
        names = {name: f"{folder.name}/{file.name}" for name, file in pictures.items()}
        draft.write_bytes(_markdown(report, names).encode())
    return [path, *pictures.values()]


def _figures(report: Report, draw: ModuleType) -> dict[str, Any]:
    """Draw all figures by the functions of a module, those of plotly or of matplotlib."""
    study, comparison = report.study, report.comparison
    return {
        "comparison": draw.plot_comparison(comparison),
        "pareto": draw.plot_pareto(study, comparison),
        "allocations": draw.plot_best_allocations(study, comparison),
        "tuning": draw.plot_tuning_importances(study),
        "budget": draw.plot_budget(study),
    }


def _html(report: Report) -> str:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    drawn = {
        name: Markup(
            figure.to_html(
                full_html=False,
                include_plotlyjs=False,
                div_id=f"figure-{name}",
                config={"displaylogo": False, "responsive": True},
            )
        )
        for name, figure in _figures(report, visualization).items()
    }
    template = _templates(autoescape=True).get_template("report.html.jinja")
    text: str = template.render(figures=drawn, plotly=Markup(get_plotlyjs()), **report.words)
    return text


def _markdown(report: Report, pictures: dict[str, str]) -> str:
    templates = _templates(autoescape=False)  # Markdown has an escape of its own
    templates.filters["text"] = escape_markdown
    words = report.words
    longest = max(map(len, re.findall("`+", words["settings"])), default=0)
    fence = "`" * max(longest + 1, 3)  # longer than what the settings hold
    text: str = templates.get_template("report.md.jinja").render(pictures=pictures, fence=fence, **words)
    return text


def _templates(*, autoescape: bool) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("sfgsearch.reporting"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


_PACKAGES = ("torch", "optuna", "numpy", "scikit-learn", "torchmetrics")


def canonical_settings(config: Config) -> str:
    """Return all settings of a study as TOML, defaults too, without passwords.

    Args:
        config: The study file, with what the study was told beyond it.
    """
    sections = _without_none(config.model_dump(mode="json"))
    if config.study.storage is not None:
        sections["study"]["storage"] = display_url(config.study.storage)
    return redact(tomlkit.dumps(sections), config.storage).strip()


def versions() -> dict[str, str]:
    """Return the versions of Python, sfgsearch and what it computes with."""
    found = {"python": platform.python_version(), "sfgsearch": __version__}
    return found | {name: version(name) for name in _PACKAGES}


def command(config: Config) -> str:
    """Return the command that does the study: the seed is in the settings, trials in all are not."""
    trials = "" if config.trials is None else f" --trials {config.trials}"
    return f"sfgsearch run {config.path.name}{trials}"


def _without_none(value: Any) -> Any:
    """Return sections without keys that have no value, which TOML cannot write."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value
