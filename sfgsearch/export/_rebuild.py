"""Rebuilding of trained networks from records or exported files, without data set or study file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor, nn

from sfgsearch._memory import memory_limit
from sfgsearch.backbones import backbones
from sfgsearch.config._memory import network_size
from sfgsearch.config._network import specify_network
from sfgsearch.config._sections import BackboneSection
from sfgsearch.config._validation import check_options
from sfgsearch.errors import ConfigError, ExportError, SFGSearchError
from sfgsearch.export._description import NetworkDescription
from sfgsearch.nn import NetworkSpec, Structure, structures
from sfgsearch.records import ArchitectureRecord
from sfgsearch.tasks import task_from_dict, task_types

Rebuildable = ArchitectureRecord | NetworkDescription
"""A recorded training, or the description of an exported network."""

_REMEDY = "list the module that registers it in study.imports of the study file, or import it first"
_LONGEST_REASON = 500
_SPARE_ELEMENTS = 2**24
_LARGEST_PART_LEFT_OUT = 64
"""How many times as many weights a plain network may have as a compact one has, per task: far more than allocations
leave out that are worth training."""
_BYTES = 4


def rebuild(record: Rebuildable) -> tuple[NetworkSpec, nn.Module]:
    """Rebuild the network that predicts, its weights yet to be loaded.

    Returns:
        What specifies the network, and the network in evaluation mode.

    Raises:
        ExportError: If its backbone, a task type or its structure is not registered, or they do not fit each other.
    """
    spec = _specification(record)
    return spec, _build(record, spec)


def _specification(record: Rebuildable) -> NetworkSpec:
    name = str(record.backbone.get("name"))
    if name not in backbones:
        by_name = f"load the study file that names it, or backbones.register({name!r})(function) first"
        raise ExportError(f"the backbone {name!r} is not registered; {by_name if ':' in name else _REMEDY}")
    for task in record.tasks:
        if str(task.get("type")) not in task_types:
            raise ExportError(f"the task type {task.get('type')!r} is not registered; {_REMEDY}")
    with _blaming_backbone(record):
        section = BackboneSection.model_validate(dict(record.backbone))
        options, tasks = _check(name, section.options), tuple(task_from_dict(task) for task in record.tasks)
        return specify_network(section, options, tasks, tuple(record.image_shape), folder=None)


def _build(record: Rebuildable, spec: NetworkSpec) -> nn.Module:
    kind = str(record.structure.get("kind"))
    if kind not in structures:
        raise ExportError(f"the structure {kind!r} is not registered; {_REMEDY}")
    with _blaming_backbone(record):
        return Structure.from_dict(record.structure).build(spec)


def _blaming_backbone(record: Rebuildable) -> AbstractContextManager[None]:
    return _blamed(f"the network with backbone {str(record.backbone.get('name'))!r} cannot be rebuilt")


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Turn whatever goes wrong in the block, in code of the user's own too, into one line."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        told = isinstance(error, SFGSearchError | ValueError | RuntimeError) and str(error)
        reason = told or f"{type(error).__name__}: {error}"
        raise ExportError(f"{what}: {' '.join(reason.split())[:_LONGEST_REASON]}") from error


def _check(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a backbone in the types that it asks for."""
    try:
        return check_options(backbones[name], options, Path(), name)
    except ConfigError as error:
        raise ExportError(
            f"the registered backbone {name!r} is not the recorded one: {error.key}: {error.message}"
        ) from error


def load_network(record: Rebuildable, weights_file: str | Path) -> nn.Module:
    """Rebuild the network that predicts and load its trained weights.

    Returns:
        The network on the CPU, in evaluation mode: images (B, C, *space) in, predictions by task name out.

    Raises:
        ExportError: If the network cannot be rebuilt, or the weights are missing, damaged or of another network.
    """
    weights = _read_weights(Path(weights_file), record.weights_digest)
    spec = _specification(record)
    _check_size(spec, sum(weight.numel() for weight in weights.values()))
    network = _build(record, spec)
    with _blamed(f"the weights {weights_file} do not fit the network"):
        _check_fit(network.state_dict(), weights)
        network.load_state_dict(weights, strict=True)
    return network.eval()


def _read_weights(file: Path, digest: str | None) -> dict[str, Tensor]:
    """Read weights that have a digest.

    Raises:
        ExportError: If they are missing, unreadable or others.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise ExportError(f"the weights {file} are missing") from error
    except OSError as error:
        raise ExportError(f"the weights {file} cannot be read: {error.strerror or error}") from error
    if digest not in (None, hashlib.sha256(content).hexdigest()):
        raise ExportError(
            f"the weights {file} are not those that were recorded: the file was damaged or exchanged; put it back, or "
            "export again"
        )
    with _blamed(f"the weights {file} cannot be read"):
        return load(content)


def _check_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Check what :meth:`torch.nn.Module.load_state_dict` would answer at length, or convert in silence.

    Raises:
        ValueError: If weights are missing, too many, or of other shapes or types.
    """
    for names, what in ((wanted.keys() - found.keys(), "missing"), (found.keys() - wanted.keys(), "unexpected")):
        if names:
            raise ValueError(f"{what} are {', '.join(sorted(names)[:3])}{' and more' if len(names) > 3 else ''}")
    for name, tensor in wanted.items():
        ours, theirs = ((value.dtype, tuple(value.shape)) for value in (tensor, found[name]))
        if ours != theirs:
            raise ValueError(f"{name} is {theirs[0]} of shape {theirs[1]} instead of {ours[0]} of shape {ours[1]}")


def _check_size(spec: NetworkSpec, elements: int) -> None:
    """Check that a network can be that of weights, and can be run, before memory is taken for it.

    A compact network has fewer weights than the plain one, which is built and analysed to rebuild it.

    Raises:
        ExportError: If it cannot.
    """
    size = network_size(spec)
    if size is None:
        return
    if size.backbone + size.heads > _LARGEST_PART_LEFT_OUT * len(spec.tasks) * elements + _SPARE_ELEMENTS:
        raise ExportError(f"the network described is larger than its weights, which have {elements} elements")
    if size.activations * _BYTES > memory_limit():
        raise ExportError(f"an image of shape {spec.image_shape} takes more memory than there is")
