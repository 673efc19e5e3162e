"""From a study file to the experiment and the manual candidates that it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from sfgsearch._faults import first_line, is_out_of_memory
from sfgsearch.allocation import Allocation, LayerAllocation, group_names
from sfgsearch.config._models import Config
from sfgsearch.config._network import EXPECTED_ERRORS, build_network
from sfgsearch.config._toml import show_value
from sfgsearch.config._validation import check_options, path_option
from sfgsearch.data import Augmentation, MultiTaskData, Split, data_sets
from sfgsearch.data._labels import check_labels, check_stored_images
from sfgsearch.errors import AllocationError, ConfigError, DataError
from sfgsearch.graph import check_assignment
from sfgsearch.methods import FixedAllocation, Method, PriorSettings, manual_methods
from sfgsearch.nn import NetworkSpec, assignment_rows
from sfgsearch.tasks import Task, task_to_dict
from sfgsearch.tasks._classes import balanced_weights
from sfgsearch.training import Experiment, RelativeError, TrainingSettings, resolve_device

EVERY_LAYER = "*"


@contextmanager
def _blame(config: Config, key: str) -> Iterator[None]:
    """Turn what goes wrong inside into an error that names the study file and the key."""
    try:
        yield
    except ConfigError:
        raise
    except EXPECTED_ERRORS as error:
        raise ConfigError(first_line(error), file=config.path, key=key) from error


@contextmanager
def _fitting() -> Iterator[None]:
    """Say of data that do not fit into memory that they do not."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise DataError(
            f"the data do not fit into memory ({first_line(error)}); use fewer or smaller images, or "
            "a machine or limit with more of it"
        ) from error


def build_experiment(config: Config) -> Experiment:
    """Load the data and set up the network of a study, checking that they fit each other.

    Raises:
        ConfigError: If a data set, backbone or device is unknown, an option is wrong, or they do not fit together.
    """
    data = load_data(config, config.study.seed)
    augmentation = Augmentation(**config.augmentation.model_dump())
    with _blame(config, "augmentation"):
        augmentation.check(data.image_shape)
    settings = TrainingSettings(**config.training.model_dump())
    with _blame(config, "training.device"):
        resolve_device(settings.device)
    spec = build_network(config, data)
    _check_simplices(config, len(spec.filters), len(data.tasks))
    _check_execution(config, spec)
    return Experiment(data, spec, settings, augmentation)


def load_data(config: Config, seed: int) -> MultiTaskData:
    """Load the data of a study as a seed divides them, with what the study file changes about its tasks.

    Raises:
        ConfigError: If the data set is unknown or cannot be loaded, or lacks what training or measuring needs.
    """
    with _blame(config, "data.name"):
        load = data_sets[config.data.name]
    given = config.data_options
    path = path_option(load)
    if "path" not in given and path is not None and path.default is path.empty:
        raise ConfigError(
            f"{config.data.name} reads your own copy: set data.path or use --data PATH",
            file=config.path,
            key="data.path",
        )
    options = check_options(load, given, config.path, "data")
    with _blame(config, "data"), _fitting():
        data = load(seed, **options)
    known = {task.name for task in data.tasks}
    for name in config.tasks:
        if name not in known:
            raise ConfigError(
                f"{config.data.name} has no such task; allowed: {', '.join(task.name for task in data.tasks)}",
                file=config.path,
                key=f"tasks.{name}",
            )
    with _blame(config, "data"), _fitting():
        check_labels(data)
        check_stored_images(data)
    tasks = tuple(_changed(config, task, data.train) for task in data.tasks)
    with _blame(config, "data"):
        group_names([task.name for task in tasks])
        for task in tasks:
            task_to_dict(task)  # records keep tasks, and only registered types can be read back
        if len(data.train) < 2:
            raise DataError("the training split has a single image; batch norm needs more")
        for split in ("train", "validation", "test"):
            RelativeError(replace(data, tasks=tasks), split)
    return replace(data, tasks=tasks)


def _changed(config: Config, task: Task, train: Split) -> Task:
    """Return a task with what the study file changes about it; balanced class weights come from the training split."""
    section = config.tasks.get(task.name)
    if section is None:
        return task
    changes = section.model_dump(exclude_none=True)
    for key, lacking in (("loss", "has a single loss"), ("class_weights", "has no classes")):
        if key in changes and not hasattr(task, key):
            raise ConfigError(f"this task {lacking}", file=config.path, key=f"tasks.{task.name}.{key}")
    if changes.get("class_weights") == "balanced":
        changes["class_weights"] = balanced_weights(train.target(task.name), task.outputs)
    with _blame(config, f"tasks.{task.name}"):
        return replace(task, **changes)


def _check_simplices(config: Config, num_layers: int, num_tasks: int) -> None:
    """Check now what learned and searched trials would trip over later."""
    prior, initial = config.learned.prior, config.learned.initial
    for key, setting in (("prior", prior.probs), ("initial", initial.probs)):
        for probs in _vectors(setting):
            with _blame(config, f"learned.{key}.probs"):
                PriorSettings("fixed", probs).per_layer(num_layers, num_tasks)
    for ratio in _vectors(prior.task_ratio):
        with _blame(config, "learned.prior.task_ratio"):
            PriorSettings("linear", task_ratio=ratio).per_layer(num_layers, num_tasks)
    for key, section in (("prior", prior), ("initial", initial)):
        if "fixed" in _options(section.family) and section.probs is None:
            raise ConfigError(
                f"a fixed {key} needs {num_tasks + 1} probabilities", file=config.path, key=f"learned.{key}.probs"
            )
    concentration = config.searched.concentration
    if isinstance(concentration, list) and len(concentration) != num_tasks:
        raise ConfigError(
            f"must be one number, or {num_tasks} (one per task), got {show_value(concentration)}",
            file=config.path,
            key="searched.concentration",
        )


def _check_execution(config: Config, spec: NetworkSpec) -> None:
    """Check that learned trials run in streams where parts of the network do."""
    if spec.analysis.parts and config.quota.learned and "dense" in _options(config.learned.execution):
        raise ConfigError(
            f"{spec.analysis.parts[0].path} is run per stream, which only the streams' execution can; set it to "
            '"streams"',
            file=config.path,
            key="learned.execution",
        )


def _options(setting: object) -> tuple[object, ...]:
    return getattr(setting, "values", (getattr(setting, "value", None),))


def _vectors(setting: object) -> list[tuple[float, ...]]:
    return [option for option in _options(setting) if isinstance(option, tuple)]


def manual_candidates(config: Config, spec: NetworkSpec) -> dict[str, Method]:
    """Return the manual methods and allocations of a study by name, checked to fit the network.

    Raises:
        ConfigError: If an option is wrong or an allocation cannot be built.
    """
    return {name: make(spec) for name, make in manual_makers(config).items()}


def manual_makers(config: Config) -> dict[str, Callable[[NetworkSpec], Method]]:
    """Return what makes the manual methods and allocations of a study for a network, by name.

    Raises:
        ConfigError: If an option is wrong; by what is returned, if an allocation cannot be built.
    """
    for name in config.manual.options:
        if name not in config.manual.methods and name not in manual_methods:
            raise ConfigError(
                f"no manual method is called {name!r}; allowed: {', '.join(manual_methods)}",
                file=config.path,
                key="manual.options",
            )
    makers: dict[str, Callable[[NetworkSpec], Method]] = {}
    for name in config.manual.methods:
        key = f"manual.options.{name}"
        options = check_options(manual_methods[name], config.manual.options.get(name, {}), config.path, key)
        makers[name] = partial(_make_method, config, name, options)
    return makers | {name: partial(_make_allocation, config, name) for name in config.manual.allocations}


def _make_method(config: Config, name: str, options: Mapping[str, Any], spec: NetworkSpec) -> Method:
    with _blame(config, f"manual.options.{name}"):
        return manual_methods[name](spec, **options)


def _make_allocation(config: Config, name: str, spec: NetworkSpec) -> Method:
    with _blame(config, f"manual.allocations.{name}"):
        allocation = _read_allocation(config.manual.allocations[name], spec)
        method = FixedAllocation(allocation)
        if allocation != Allocation.single_task(spec.filters, spec.task_names):
            check_assignment(spec.analysis, assignment_rows(spec.analysis, method.assign(spec, spec.build())))
        return method


def _read_allocation(layers: Mapping[str, Sequence[int | float]], spec: NetworkSpec) -> Allocation:
    """Read an allocation as study files write it.

    Per layer, whole numbers are counts and numbers with a decimal point proportions; ``"*"`` stands for every layer
    that is not named.
    """
    unknown = [name for name in layers if name not in spec.filters and name != EVERY_LAYER]
    if unknown:
        raise AllocationError(
            f"the backbone has no layer {unknown[0]!r}; allowed: {', '.join(spec.filters)}, "
            f"or {EVERY_LAYER!r} for all others"
        )
    read = []
    for name, num_filters in spec.filters.items():
        numbers = layers.get(name, layers.get(EVERY_LAYER))
        if numbers is None:
            raise AllocationError(f"layer {name!r} is missing; {EVERY_LAYER!r} would stand for all layers not named")
        if all(isinstance(number, int) for number in numbers):
            read.append(LayerAllocation(name, tuple(int(number) for number in numbers)))
        else:
            shares = [float(number) for number in numbers]
            read += Allocation.from_proportions({name: num_filters}, spec.task_names, {name: shares}).layers
    allocation = Allocation(group_names(spec.task_names), tuple(read))
    allocation.check_fits(spec.filters, spec.task_names)
    return allocation
