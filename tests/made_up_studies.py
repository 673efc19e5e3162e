"""Studies with made-up numbers, of any number of tasks, layers and trials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from sfgsearch.allocation import Allocation
from sfgsearch.comparison import Comparison, compare
from sfgsearch.records import ArchitectureRecord, MonteCarloRecord
from sfgsearch.search._attributes import ALLOCATION, allocation_attribute

KINDS = ("learned", "searched", "manual")
FAMILIES, SCHEDULES = ["uniform", "linear"], ["constant", "linear"]


def tasks_of(number):
    """Return so many tasks: classifications and regressions in turn."""
    kinds = (
        {"type": "classification", "num_classes": 3},
        {"type": "regression", "scale": 90.0, "unit": "degrees"},
    )
    return [{**kinds[index % 2], "name": f"task_{index}"} for index in range(number)]


def metrics_of(tasks, error):
    """Return metrics that fit a relative error."""
    return {
        f"{task['name']}/{'accuracy' if task['type'] == 'classification' else 'mae'}": (
            1 - error / 2 if task["type"] == "classification" else 40 * error
        )
        for task in tasks
    }


def units_of(tasks):
    """Return the units of these metrics."""
    return {key: "fraction" if key.endswith("accuracy") else "degrees" for key in metrics_of(tasks, 0)}


@dataclass
class MadeUp:
    """A study with its finalists.

    Args:
        study: In memory.
        comparison: Of its finalists.
        records: The finalists.
        tasks: Plain data of its tasks.
    """

    study: optuna.Study
    comparison: Comparison
    records: list[ArchitectureRecord]
    tasks: list[dict]


def add_trial(
    study, kind, error, *, tasks, layers=4, params=None, seconds=10.0, state=TrialState.COMPLETE, name=None, start=None
):
    """Add a trial as sfgsearch leaves it, and return its number; a refined one says where it started."""
    number = len(study.trials)
    names = [task["name"] for task in tasks]
    filters = {f"conv{index + 1}": 8 for index in range(layers)}
    shared = {layer: 0.9 - 0.8 * index / max(layers - 1, 1) for index, layer in enumerate(filters)}
    split = {layer: [*[(1 - part) / len(names)] * len(names), part] for layer, part in shared.items()}
    attributes, hidden = {"name": name or f"{kind}-{number}"} | ({"start": start} if start else {}), {}
    if state is TrialState.COMPLETE:
        allocation = Allocation.from_proportions(filters, names, split)
        attributes |= {
            "relative_error": error,
            "macs": 1000 * (number + 1),
            **{f"validation/{key}": value for key, value in metrics_of(tasks, error).items()},
        }
        hidden[ALLOCATION] = allocation_attribute(allocation, [])
    values, distributions = {"kind": kind}, {"kind": CategoricalDistribution(KINDS)}
    for key, (value, distribution) in (params or {}).items():
        values[key], distributions[key] = value, distribution
    trial = create_trial(
        params=values,
        distributions=distributions,
        value=error if state is TrialState.COMPLETE else None,
        state=state,
        user_attrs=attributes,
        system_attrs=hidden,
    )
    trial.datetime_start = datetime(2025, 1, 1) + timedelta(minutes=number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    study.add_trial(trial)
    return number


def tuned(generator):
    """Draw the parameters of a learned trial; the end of the temperature depends on its schedule."""
    schedule = SCHEDULES[generator.integers(2)]
    params = {
        "learned.lr": (float(np.exp(generator.uniform(-4, -2))), FloatDistribution(0.01, 0.2, log=True)),
        "learned.prior.family": (FAMILIES[generator.integers(2)], CategoricalDistribution(FAMILIES)),
        "learned.temperature.schedule": (schedule, CategoricalDistribution(SCHEDULES)),
    }
    if schedule == "linear":
        params["learned.temperature.end"] = (float(generator.uniform(0.1, 0.5)), FloatDistribution(0.1, 0.5))
    return params


def finalist(tasks, kind, name, trial, seed, error, role="finalist"):
    """Return a retraining of a finalist."""
    both = {split: metrics_of(tasks, error) for split in ("validation", "test")}
    scores = {"validation": error, "test": error}
    sampled = MonteCarloRecord(4, 10, 9000, both, scores) if role == "relearned" else None
    return ArchitectureRecord(
        trial=trial,
        role=role,
        kind=kind,
        name=name,
        backbone={},
        image_shape=(1, 8, 8),
        tasks=tasks,
        structure={},
        allocation=Allocation.equal({"conv1": 6}, [task["name"] for task in tasks]),
        seed=seed,
        epochs=1,
        parameters=100,
        macs=1000 * (trial + 1),
        metrics=both,
        units=units_of(tasks),
        scores=scores,
        training_seconds=1.0,
        monte_carlo=sampled,
    )


def make_study(errors, *, tasks=2, layers=4, trials=2, name="demo", relearned=0.0, shortfall=None):
    """Make a study up.

    Args:
        errors: Relative errors of the finalist of each kind by seed; kinds without any have no finalist.
        tasks: How many tasks.
        layers: How many layers.
        trials: Trials of each kind.
        name: The study's name.
        relearned: By how much the network as it was learned is worse; none is where it is 0.
        shortfall: What the study asks for and does not have.
    """
    generator = np.random.default_rng(0)
    study, described = optuna.create_study(study_name=name), tasks_of(tasks)
    best = {}
    for index in range(trials):
        for kind in KINDS:
            params = tuned(generator) if kind == "learned" else None
            error = 0.3 - 0.1 * index / trials + 0.05 * float(generator.uniform())
            number = add_trial(study, kind, error, tasks=described, layers=layers, params=params)
            best[kind] = number
    records = []
    for kind, by_seed in errors.items():
        for seed, error in enumerate(by_seed, start=1):
            args = (described, kind, f"{kind}-{best[kind]}", best[kind], seed)
            records.append(finalist(*args, error))
            if relearned and kind == "learned":
                records.append(finalist(*args, error + relearned, role="relearned"))
    return MadeUp(study, compare(name, records, study.get_trials(), shortfall), records, described)
