"""From a record to the network that was trained, without data set or study file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sfgsearch.backbones import backbones
from sfgsearch.config._options import check_options
from sfgsearch.errors import ConfigError, ExportError, SFGSearchError
from sfgsearch.export._description import Rebuildable
from sfgsearch.nn import NetworkSpec, Structure, structures
from sfgsearch.tasks import task_from_dict, task_types

_REMEDY = "list the module that registers it in study.imports of the study file, or import it first"


def rebuild(record: Rebuildable) -> tuple[NetworkSpec, nn.Module]:
    """Rebuild the network that predicts, its weights yet to be loaded.

    Args:
        record: A recorded training, or the description of an exported network.

    Returns:
        What specifies the network, and the network in evaluation mode.

    Raises:
        ExportError: If its backbone, a task type or its structure is not registered, or they do not fit each other.
    """
    name = str(record.backbone.get("name"))
    if name not in backbones:
        raise ExportError(f"the backbone {name!r} is not registered; {_REMEDY}")
    for task in record.tasks:
        if task.get("type") not in task_types:
            raise ExportError(f"the task type {task.get('type')!r} is not registered; {_REMEDY}")
    kind = record.structure.get("kind")
    if kind not in structures:
        raise ExportError(f"the structure {kind!r} is not registered; {_REMEDY}")
    options = {key: value for key, value in record.backbone.items() if key not in ("name", "norm")}
    try:
        spec = NetworkSpec(
            partial(backbones[name], **_check(name, options)),
            tuple(task_from_dict(task) for task in record.tasks),
            tuple(record.image_shape),
            str(record.backbone.get("norm", "batch")),
        )
        return spec, Structure.from_dict(record.structure).build(spec)
    except ExportError:
        raise
    except (SFGSearchError, ValueError, TypeError, RuntimeError) as error:
        raise ExportError(f"the network with backbone {name!r} cannot be rebuilt: {error}") from error


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

    Args:
        record: A recorded training, or the description of an exported network.
        weights_file: Its weights, as safetensors.

    Returns:
        The network on the CPU, in evaluation mode: images (B, C, *space) in, predictions by task name out.

    Raises:
        ExportError: If the network cannot be rebuilt, or the weights are missing, unreadable or of another network.
    """
    _, network = rebuild(record)
    try:
        weights = load_file(weights_file)
    except FileNotFoundError as error:
        raise ExportError(f"the weights {weights_file} are missing") from error
    except (SafetensorError, OSError) as error:
        raise ExportError(f"the weights {weights_file} cannot be read: {error}") from error
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ExportError(f"the weights {weights_file} do not fit the network: {reason[:500]}") from error
    return network.eval()
