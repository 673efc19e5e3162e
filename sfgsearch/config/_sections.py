"""The sections of a study file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sfgsearch._choices import (
    Execution,
    FlipAxis,
    InitialFamily,
    LearningRateSchedule,
    OptimiserName,
    Padding,
    Precision,
    PriorFamily,
    ScheduleFamily,
    SearchSpace,
    WarmStart,
    Weighting,
)
from sfgsearch._registry import manual_methods
from sfgsearch.config import _bounds as bounds
from sfgsearch.config._settings import (
    SMALLEST,
    Fixed,
    FlagSetting,
    NumberSetting,
    VectorSetting,
    WordSetting,
    numbers,
    words,
)


def _distinct(names: tuple[str, ...], what: str) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError(f"names {what} twice")
    return names


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class OpenSection(BaseModel):
    """A section whose further keys are the options of the part that it names."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The further keys."""
        return dict(self.model_extra or {})


class StudySection(Section):
    """Name, seed, place and objective of a study, and code of the user's own that it needs."""

    name: bounds.Name | None = None
    seed: bounds.Seed = 0
    storage: bounds.DatabaseURL | None = None
    folder: bounds.Folder | None = None
    objective: Literal["mean", "per_task"] = "mean"
    imports: Annotated[tuple[str, ...], Field(strict=False)] = ()


class DataSection(OpenSection):
    """Which data set; further keys are its options."""

    name: str


_Means = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
_Deviations = Annotated[tuple[bounds.Weight, ...], Field(strict=False, min_length=1)]
Normalisation = Annotated[tuple[_Means, _Deviations], Field(strict=False)]
"""Mean and standard deviation of every channel, for images from 0 to 1."""


class BackboneSection(OpenSection):
    """Which backbone, what it starts from and what of it is allocated; further keys are its options."""

    name: str
    pretrained: bool | str = False
    freeze: Annotated[tuple[str, ...], Field(strict=False)] = ()
    input_norm: Literal["auto", "imagenet", "none"] | Normalisation = "auto"
    cut: str | None = None
    features: Annotated[tuple[str, ...], Field(strict=False)] = ()
    allocate: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the backbone is anything but what the registered function returns, all of it allocated."""
        return bool(self.settings.keys() - {"allocate"})

    @property
    def settings(self) -> dict[str, Any]:
        """All keys but the name and the options of the registered function, as plain data, without defaults."""
        keys = type(self).model_fields.keys() - {"name"}
        return self.model_dump(mode="json", include=keys, exclude_defaults=True)

    @field_validator("features")
    @classmethod
    def _either_cut_or_features(cls, features: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if features and info.data.get("cut") is not None:
            raise ValueError("stands for cut where several features are read; leave one of them out")
        return _distinct(features, "a module")


class TaskSection(Section):
    """Changes of a study to a task of its data."""

    weight: bounds.Weight | None = None
    hidden: bounds.Count | None = None
    loss: str | None = None
    class_weights: Literal["balanced"] | Annotated[tuple[bounds.Weight, ...], Field(strict=False)] | None = None


class AugmentationSection(Section):
    """Random changes to training images; see :class:`sfgsearch.data.Augmentation`."""

    flips: Annotated[tuple[FlipAxis, ...], Field(strict=False)] = ()
    crop: bounds.Count = 0
    padding: Padding = "reflect"
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0


class TrainingSection(Section):
    """The training that all kinds share; see :class:`sfgsearch.training.TrainingSettings`."""

    epochs: bounds.AtLeastOne = 20
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 64
    optimiser: OptimiserName = "adam"
    lr: bounds.LearningRate = 1e-3
    backbone_lr: bounds.LearningRate | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip: bounds.Weight | None = None
    lr_schedule: LearningRateSchedule = "cosine"
    warmup: Annotated[float, Field(ge=0, le=1000)] = 0.0
    length_scale: bounds.LengthScale = 1.0
    calibration_batches: bounds.AtLeastOne = 5
    task_weighting: Weighting = "fitted"
    monte_carlo_samples: bounds.Samples = 10
    precision: Precision = "float32"
    channels_last: bool = True
    tf32: bool = False
    cudnn_benchmark: bool = False
    device: bounds.Device = "auto"
    threads: bounds.Threads | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError('nesterov is a kind of momentum; set optimiser = "sgd" and momentum, or leave it out')
        if self.warmup and self.lr_schedule == "one_cycle":
            raise ValueError('lr_schedule = "one_cycle" warms up by itself; leave warmup out')
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup must be shorter than the training, which has {self.epochs} epochs")
        return self


class QuotaSection(Section):
    """Trials per kind; manual methods are listed in their own section.

    Refined trials are searched ones whose prior is what learned trials found; they begin when these are over.
    """

    learned: bounds.Trials = 10
    searched: bounds.Trials = 10
    refined: bounds.Trials = 0


class ManualSection(Section):
    """Manual methods by name, their options, and allocations written out by layer."""

    methods: Annotated[tuple[str, ...], Field(strict=False)] = (
        "single_task",
        "hard_sharing",
        "equal",
        "constant_probabilities",
    )
    options: dict[str, dict[str, Any]] = {}
    allocations: dict[bounds.Name, dict[str, list[int | float]]] = {}

    @field_validator("methods")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in manual_methods:
                raise ValueError(f"no manual method is called {name!r}; allowed: {', '.join(manual_methods)}")
        return _distinct(names, "a method")

    @field_validator("allocations")
    @classmethod
    def _distinct(cls, allocations: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(set(allocations) & set(manual_methods))
        if taken:
            raise ValueError(f"{taken[0]!r} is the name of a manual method; choose another name for the allocation")
        return allocations

    @property
    def names(self) -> tuple[str, ...]:
        """All manual candidates, methods first."""
        return (*self.methods, *self.allocations)


_temperature, _probability = numbers(1e-4, 1e4), numbers(SMALLEST, 1 - SMALLEST)


class TemperatureSection(Section):
    """The temperature schedule of learned trials."""

    schedule: Annotated[WordSetting, words(ScheduleFamily)] = Fixed("exponential")
    start: Annotated[NumberSetting, _temperature] = Fixed(2.0)
    end: Annotated[NumberSetting, _temperature] = Fixed(0.3)
    rate: Annotated[NumberSetting, numbers(1e-12, 1000.0)] | None = None
    floor: Annotated[NumberSetting, _temperature] = Fixed(0.01)


class PriorSection(Section):
    """The group prior of learned trials."""

    family: Annotated[WordSetting, words(PriorFamily)] = Fixed("sharing")
    probs: VectorSetting | None = None
    first: Annotated[NumberSetting, _probability] = Fixed(0.8)
    last: Annotated[NumberSetting, _probability] = Fixed(0.2)
    task_ratio: VectorSetting | None = None


class InitialSection(Section):
    """The initial probabilities of learned trials."""

    family: Annotated[WordSetting, words(InitialFamily)] = Fixed("prior")
    probs: VectorSetting | None = None
    concentration: Annotated[NumberSetting, numbers(1e-3, 1e6)] = Fixed(1.0)


class LearnedSection(Section):
    """Settings of Stochastic Filter Groups, which Optuna tunes where they are lists or ranges."""

    lr: Annotated[NumberSetting, numbers(1e-12, 100.0)] = Fixed(0.02)
    kl_weight: Annotated[NumberSetting, numbers(0.0, 1e6)] = Fixed(1.0)
    execution: Annotated[WordSetting, words(Execution)] = Fixed("dense")
    hard: FlagSetting = Fixed(True)
    settle: Annotated[NumberSetting, numbers(0.0, 0.95)] = Fixed(0.5)
    temperature: TemperatureSection = TemperatureSection()
    prior: PriorSection = PriorSection()
    initial: InitialSection = InitialSection()
    price: Annotated[NumberSetting, numbers(0.0, 1e6)] = Fixed(0.0)
    off: FlagSetting = Fixed(False)


class SearchedSection(Section):
    """The space of searched trials, and its prior.

    Args:
        space: ``"layers"``: proportions of every channel space; ``"curve"``: shared shares that follow from depth.
        shared: Parameters of the beta distribution of a shared share; the mean of (1, 1) is one half for any T.
        concentration: Of the Dirichlet by which tasks split what is not shared; one number, or one per task.
        warm_starts: Allocations that the search begins with.
    """

    space: Annotated[WordSetting, words(SearchSpace)] = Fixed("layers")
    shared: Annotated[tuple[bounds.Concentration, bounds.Concentration], Field(strict=False)] = (1.0, 1.0)
    concentration: bounds.Concentration | list[bounds.Concentration] = 1.0
    warm_starts: Annotated[tuple[WarmStart, ...], Field(strict=False)] = get_args(WarmStart)

    @field_validator("warm_starts")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(names, "an allocation")


class RefinedSection(Section):
    """The prior of refined trials: per channel space a Dirichlet around the mean probabilities of learned trials.

    Args:
        best: How many learned trials it is the mean of, the best ones on validation data.
        strength: The sum of the Dirichlet's parameters.
    """

    best: Annotated[int, Field(ge=1, le=10)] = 3
    strength: bounds.Concentration = 20.0


class SamplerSection(Section):
    """Optuna's sampler."""

    name: Literal["tpe", "random"] = "tpe"
    startup_trials: bounds.Count = 10


class PrunerSection(Section):
    """Optuna's pruner, which compares trials of one kind only; manual trials are never pruned."""

    name: Literal["median", "successive_halving", "none"] = "median"
    startup_trials: bounds.Count = 5
    warmup_epochs: bounds.Count = 5


class ExecutionSection(Section):
    """How workers share a study and survive.

    Args:
        retries: How often a trial or finalist that failed is tried again.
        grace: Seconds without a sign of life after which another worker takes over what a worker was training, at
            most a day.
        checkpoint_every: Seconds of training between checkpoints, which are written at the ends of epochs, and within
            epochs that last longer than twice that; 0 is at the end of every epoch, and a day the most.
    """

    retries: bounds.Retries = 2
    grace: Annotated[float, Field(ge=1, le=bounds.DAY)] = 60.0
    checkpoint_every: Annotated[float, Field(ge=0, le=bounds.DAY)] = 30.0


class ComparisonSection(Section):
    """The final comparison: how many of each kind are retrained, over how many seeds.

    With ``as_learned`` learned finalists are also trained again jointly with their allocation, for the metrics of the
    derived network and of Monte-Carlo prediction.

    Args:
        splits: ``"per_seed"``: every seed has a partition of the data of its own, which all finalists share, so that
            intervals cover data and training; candidates were selected on the study's. ``"study"``: all have that one.
        match: ``"macs"``: verdicts are about networks of equal multiply-adds, those of hard sharing at the study's
            width, to which every finalist is scaled; those at that width are trained too. ``"none"``: only these are.
        controls: Whether learned finalists are also retrained upside down, and with their layers in a random order.
    """

    seeds: bounds.Seeds = 5
    splits: Literal["per_seed", "study"] = "per_seed"
    match: Literal["macs", "none"] = "macs"
    controls: bool = False
    learned: bounds.Count = 1
    searched: bounds.Count = 1
    refined: bounds.Count = 1
    manual: bounds.Count | Literal["all"] = "all"
    as_learned: bool = True


class ReviewSection(Section):
    """Files that trials leave to be looked at: with ``pictures`` a few PNG files beside the table and the note."""

    pictures: bool = True
