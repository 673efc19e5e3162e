"""The network of a study file, built and analysed once to see that it can be."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sfgsearch._faults import first_line
from sfgsearch.backbones import TrunkBuilder, backbones
from sfgsearch.config._memory import check_memory
from sfgsearch.config._models import Config
from sfgsearch.config._sections import BackboneSection
from sfgsearch.config._validation import check_options
from sfgsearch.data import MultiTaskData
from sfgsearch.errors import ConfigError, RegistryError, SFGSearchError
from sfgsearch.graph import verify
from sfgsearch.nn import NetworkSpec, TaskLike

_WHOLE = ("monai", "torchvision")
"""Backbones that are whole models, whose features are found in them."""

KEYS = sorted(BackboneSection.model_fields.keys() - {"name"})

EXPECTED_ERRORS = (SFGSearchError, ValueError, ArithmeticError, OSError, EOFError, RuntimeError, MemoryError)
"""Errors whose messages say enough without their types."""


def build_network(config: Config, data: MultiTaskData) -> NetworkSpec:
    """Specify the network of a study file, checking that it can be built, run, analysed and trained with the data.

    Raises:
        ConfigError: If it cannot, whatever code of the user's own or torch raises.
    """
    try:
        backbone = backbones[config.backbone.name]
    except RegistryError as error:
        raise ConfigError(str(error), file=config.path, key="backbone.name") from error
    with _blaming(backbone, config):
        options = check_options(backbone, config.backbone.options, config.path, "backbone", KEYS)
        spec = specify_network(config.backbone, options, data.tasks, data.image_shape, config.path.parent)
        check_memory(config, spec, len(data.train))
        _try_out(spec)
    return spec


def specify_network(
    section: BackboneSection,
    options: Mapping[str, Any],
    tasks: tuple[TaskLike, ...],
    image_shape: tuple[int, ...],
    folder: Path | None,
) -> NetworkSpec:
    """Specify the network of a backbone that is registered.

    Args:
        section: Its section of a study file.
        options: The options of the registered function, checked.
        tasks: The tasks.
        image_shape: (C, *space) of one image.
        folder: Where paths of weights start from; None to leave starting weights out, which others replace.
    """
    build: Callable[..., Any] = backbones[section.name]
    starts = section.pretrained
    options = {key: value for key, value in options.items() if key != "pretrained"}
    if section.is_changed or section.name in _WHOLE or "pretrained" in inspect.signature(build).parameters:
        build = TrunkBuilder(
            build,
            (folder or Path()) / os.path.expanduser(starts) if isinstance(starts, str) else starts,
            section.freeze,
            section.input_norm,
            section.cut,
            section.features,
            section.name in _WHOLE,
            reads_weights=folder is not None,
        )
    return NetworkSpec(
        partial(build, **options), tasks, image_shape, section.allocate, section.freeze, bool(section.pretrained)
    )


@contextmanager
def _blaming(backbone: Callable[..., object], config: Config) -> Iterator[None]:
    """Turn whatever goes wrong inside into an error that names the backbone, and the line of it where that is known."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        reason, kind = first_line(error), type(error).__name__
        if not isinstance(error, EXPECTED_ERRORS) and reason != kind:
            reason = f"{kind}: {reason}"
        raise ConfigError(
            f"{reason}{_own_line(backbone, error)}", file=config.path, key=f"backbone.name = {config.backbone.name!r}"
        ) from error


def _own_line(backbone: Callable[..., object], error: BaseException) -> str:
    """Return in brackets where in the file of a backbone of the user's own an error came up; empty elsewhere."""
    module = inspect.getmodule(backbone)
    if module is None or not module.__file__ or module.__name__.startswith("sfgsearch."):
        return ""
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == module.__file__]
    return f" ({Path(module.__file__).name}, line {lines[-1]})" if lines else ""


def _try_out(spec: NetworkSpec) -> None:
    """Analyse and verify the plain network, and run two images through it as in training: space may be too small."""
    network, images = spec.build(), torch.zeros(2, *spec.image_shape)
    with torch.no_grad():
        network.train()(images)
    verify(network, spec.analysis, images, spec.task_names)  # the analysis is kept, and blamed on the backbone here
