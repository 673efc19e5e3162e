"""From a record to the network that was trained, without data set or study file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sfgsearch.backbones import backbones
from sfgsearch.config._options import check_options
from sfgsearch.errors import ConfigError, ExportError, SFGSearchError
from sfgsearch.export._description import Rebuildable
from sfgsearch.nn import NetworkSpec, Structure, structures
from sfgsearch.tasks import task_from_dict, task_types

_REMEDY = "list the module that registers it in study.imports of the study file, or import it first"
_LONGEST_REASON = 500
_SPARE_ELEMENTS = 2**24
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


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
        if str(task.get("type")) not in task_types:
            raise ExportError(f"the task type {task.get('type')!r} is not registered; {_REMEDY}")
    kind = str(record.structure.get("kind"))
    if kind not in structures:
        raise ExportError(f"the structure {kind!r} is not registered; {_REMEDY}")
    options = {key: value for key, value in record.backbone.items() if key not in ("name", "norm")}
    with _blamed(f"the network with backbone {name!r} cannot be rebuilt"):
        spec = NetworkSpec(
            partial(backbones[name], **_check(name, options)),
            tuple(task_from_dict(task) for task in record.tasks),
            tuple(record.image_shape),
            str(record.backbone.get("norm", "batch")),
        )
        return spec, Structure.from_dict(record.structure).build(spec)


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

    Args:
        record: A recorded training, or the description of an exported network.
        weights_file: Its weights, as safetensors.

    Returns:
        The network on the CPU, in evaluation mode: images (B, C, *space) in, predictions by task name out.

    Raises:
        ExportError: If the network cannot be rebuilt, or the weights are missing, damaged or of another network.
    """
    weights = _read_weights(Path(weights_file), record.weights_digest)
    with _AllocationLimit(sum(weight.numel() for weight in weights.values())):
        _, network = rebuild(record)
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


class _AllocationLimit(TorchFunctionMode):
    """Refuses tensors for a network that has more elements than its weights, before memory is taken for them.

    Args:
        elements: Elements of the weights.
    """

    def __init__(self, elements: int) -> None:
        super().__init__()
        self._elements, self._left = elements, 4 * elements + _SPARE_ELEMENTS

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in _FACTORIES and torch.device(given.get("device") or "cpu").type != "meta":
            self._left -= func(*args, **{**given, "device": "meta"}).numel()
            if self._left < 0:
                raise ExportError(
                    f"the network described is larger than its weights, which have {self._elements} elements"
                )
        return func(*args, **given)
