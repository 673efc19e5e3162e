"""A study file as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr
from sqlalchemy import URL

from sfgsearch._apportion import apportion
from sfgsearch._registry import data_sets
from sfgsearch.config import _bounds as bounds
from sfgsearch.config._sections import (
    AugmentationSection,
    BackboneSection,
    ComparisonSection,
    DataSection,
    ExecutionSection,
    LearnedSection,
    ManualSection,
    PrunerSection,
    QuotaSection,
    RefinedSection,
    ReviewSection,
    SamplerSection,
    SearchedSection,
    Section,
    StudySection,
    TaskSection,
    TrainingSection,
)
from sfgsearch.config._validation import path_option

_PRECEDENCE = ("learned", "searched", "manual", "refined")


class Config(Section):
    """A study file, checked key by key. Build one with :func:`sfgsearch.load_config`."""

    study: StudySection = StudySection()
    data: DataSection
    backbone: BackboneSection
    tasks: dict[str, TaskSection] = Field(default_factory=dict)
    training: TrainingSection = TrainingSection()
    augmentation: AugmentationSection = AugmentationSection()
    quota: QuotaSection = QuotaSection()
    manual: ManualSection = ManualSection()
    learned: LearnedSection = LearnedSection()
    searched: SearchedSection = SearchedSection()
    refined: RefinedSection = RefinedSection()
    sampler: SamplerSection = SamplerSection()
    pruner: PrunerSection = PrunerSection()
    comparison: ComparisonSection = ComparisonSection()
    execution: ExecutionSection = ExecutionSection()
    review: ReviewSection = ReviewSection()
    _path: Path = PrivateAttr(default=Path("study.toml"))
    _trials: int | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path:
        """The study file."""
        return self._path

    @property
    def name(self) -> str:
        """The study's name; the file's stem unless set."""
        return self.study.name or self.path.stem

    @property
    def folder(self) -> Path:
        """Where the study keeps its database and artifacts: beside the file, named after it, unless set."""
        return self.path.parent / (self.study.folder or self.path.stem)

    @property
    def storage(self) -> str:
        """The database URL; SQLite in the study's folder unless set."""
        file = URL.create("sqlite", database=str(self.folder / "study.db"))
        return self.study.storage or file.render_as_string()

    @property
    def data_options(self) -> dict[str, Any]:
        """The options of the data set; a relative ``path`` counts from the study file's folder."""
        options = self.data.options
        if isinstance(options.get("path"), str):
            options["path"] = str(self.path.parent / os.path.expanduser(options["path"]))
        return options

    def with_overrides(
        self,
        *,
        trials: int | None = None,
        seed: int | None = None,
        storage: str | None = None,
        data: str | Path | None = None,
        device: str | None = None,
    ) -> Config:
        """Return the study with what a command line changes.

        Args:
            trials: All trials of the study, split over the kinds in the proportions of the file.
            seed: The study's seed.
            storage: The database URL.
            data: Where the data set is, the option ``path`` of the data; relative to the working directory.
            device: Where networks are trained, as ``training.device``.

        Raises:
            ValueError: If trials, the seed, the storage or the device is none, or the data set takes no path.
        """
        bounds.check("--trials", bounds.Total, trials)
        bounds.check("--seed", bounds.Seed, seed)
        bounds.check("--storage or SFGSEARCH_STORAGE", bounds.DatabaseURL, storage, is_secret=True)
        bounds.check("--device", bounds.Device, device)
        changes = {key: value for key, value in (("seed", seed), ("storage", storage)) if value is not None}
        changed = self.model_copy(update={"study": self.study.model_copy(update=changes)})
        if trials is not None:
            changed._trials = trials
        if device is not None:
            changed = changed.model_copy(update={"training": self.training.model_copy(update={"device": device})})
        return changed if data is None else changed._with_data(Path(data))

    @property
    def trials(self) -> int | None:
        """Trials in all, where a command line said so; None for the quotas of the file."""
        return self._trials

    def with_trials(self, trials: int | None) -> Config:
        """Return the study with so many trials in all, or with the quotas of the file."""
        changed = self.model_copy()
        changed._trials = trials
        return changed

    def _with_data(self, path: Path) -> Config:
        name = self.data.name
        if name in data_sets and not path_option(data_sets[name]):
            raise ValueError(f"the data set {name!r} takes no path; leave out --data")
        bounds.check("--data", bounds.UTF8, str(path))
        options = {**self.data.options, "path": os.path.abspath(os.path.expanduser(path))}
        return self.model_copy(update={"data": DataSection(name=name, **options)})

    @property
    def budget(self) -> dict[str, int]:
        """Trials per strategy: the quotas of the file, or their proportions of an overriding total."""
        quotas = {**self.quota.model_dump(), "manual": len(self.manual.names)}
        return quotas if self._trials is None else split_trials(self._trials, quotas)

    @property
    def finalists(self) -> dict[str, int]:
        """Candidates per strategy that the comparison asks for; none of one without trials."""
        found = {}
        for strategy, trials in self.budget.items():
            number: int | Literal["all"] = getattr(self.comparison, strategy)
            found[strategy] = trials if number == "all" else number * bool(trials)
        return found


def split_trials(trials: int, quotas: Mapping[str, int]) -> dict[str, int]:
    """Split a total over strategies in proportion to their quotas, each getting one as long as there are any.

    There are only so many manual candidates; what they leave goes to the other strategies.

    Args:
        trials: The total.
        quotas: Learned, searched, refined and manual trials.
    """
    first: dict[str, int] = {}
    for strategy in _PRECEDENCE:
        first[strategy] = int(quotas[strategy] > 0 and sum(first.values()) < trials)
    counts = _add_in_proportion(first, trials, quotas)
    others = {**quotas, "manual": 0}
    if counts["manual"] > quotas["manual"] and any(others.values()):
        counts = _add_in_proportion({**first, "manual": quotas["manual"]}, trials, others)
    counts["manual"] = min(counts["manual"], quotas["manual"])
    return {strategy: counts[strategy] for strategy in quotas}


def _add_in_proportion(counts: Mapping[str, int], trials: int, quotas: Mapping[str, int]) -> dict[str, int]:
    weights = {strategy: max(quotas[strategy] - 1, 0) for strategy in counts}
    if not any(quotas.values()):
        return dict(counts)
    if not any(weights.values()):
        weights = {strategy: quotas[strategy] for strategy in counts}
    extra = apportion(trials - sum(counts.values()), list(weights.values()))
    return {strategy: counts[strategy] + more for strategy, more in zip(counts, extra, strict=True)}
