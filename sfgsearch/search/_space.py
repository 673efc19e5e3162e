"""From the settings of a study file to Optuna's suggestions.

Parameter names are the keys of the study file, such as ``learned.temperature.start``, so that the dashboard speaks
the file's language.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

from optuna.trial import BaseTrial

from sfgsearch.config import Fixed, LearnedSection, Range, Setting
from sfgsearch.functional import TemperatureSchedule
from sfgsearch.methods import InitialSettings, PriorSettings, SFGSettings

T = TypeVar("T")


def suggest(trial: BaseTrial, name: str, setting: Setting[T]) -> T:
    """Return a setting's value, asking Optuna where there is a choice.

    Args:
        trial: The trial.
        name: The parameter's name.
        setting: A value, choices or a range.
    """
    if isinstance(setting, Fixed):
        return setting.value
    if isinstance(setting, Range):
        return cast("T", trial.suggest_float(name, setting.low, setting.high, log=setting.log))
    if isinstance(setting.values[0], tuple):  # Optuna's categories are scalars
        labels = {json.dumps(value): value for value in setting.values}
        return labels[trial.suggest_categorical(name, list(labels))]
    return cast("T", trial.suggest_categorical(name, cast("Any", setting.values)))


def suggest_learned(trial: BaseTrial, section: LearnedSection) -> SFGSettings:
    """Suggest the settings of a learned trial; parameters that a choice makes idle are not asked for."""

    def ask(key: str, setting: Setting[Any] | None) -> Any:
        return None if setting is None else suggest(trial, f"learned.{key}", setting)

    schedule = ask("temperature.schedule", section.temperature.schedule)
    rate = ask("temperature.rate", section.temperature.rate) if schedule == "exponential" else None
    has_end = schedule != "constant" and rate is None
    temperature = TemperatureSchedule(
        family=schedule,
        start=ask("temperature.start", section.temperature.start),
        end=ask("temperature.end", section.temperature.end) if has_end else None,
        rate=rate,
        floor=ask("temperature.floor", section.temperature.floor),
    )
    return SFGSettings(
        lr=ask("lr", section.lr),
        kl_weight=ask("kl_weight", section.kl_weight),
        execution=ask("execution", section.execution),
        hard=ask("hard", section.hard),
        settle=ask("settle", section.settle),
        temperature=temperature,
        prior=_suggest_prior(ask, section),
        initial=_suggest_initial(ask, section),
        price=ask("price", section.price),
        off=ask("off", section.off),
    )


def _suggest_prior(ask: Any, section: LearnedSection) -> PriorSettings:
    prior = section.prior
    family = ask("prior.family", prior.family)
    if family == "fixed":
        return PriorSettings(family, probs=ask("prior.probs", prior.probs))
    if family == "linear":
        return PriorSettings(
            family,
            first=ask("prior.first", prior.first),
            last=ask("prior.last", prior.last),
            task_ratio=ask("prior.task_ratio", prior.task_ratio),
        )
    return PriorSettings(family)


def _suggest_initial(ask: Any, section: LearnedSection) -> InitialSettings:
    initial = section.initial
    family = ask("initial.family", initial.family)
    if family == "prior":
        return InitialSettings(family)
    probs = ask("initial.probs", initial.probs)
    if family == "dirichlet":
        return InitialSettings(family, probs, ask("initial.concentration", initial.concentration))
    return InitialSettings(family, probs)
