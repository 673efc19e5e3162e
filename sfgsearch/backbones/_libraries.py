"""Backbones of other libraries: timm, torchvision and MONAI."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch._registry import backbones
from sfgsearch.backbones._weights import adapt_channels
from sfgsearch.errors import BackboneError
from sfgsearch.graph import CONVOLUTIONS, evaluating

_COLOURS = 3


def _library(name: str, extra: str) -> ModuleType:
    """Import a library.

    Raises:
        BackboneError: If it is not installed, or fails, as a torchvision does that was built for another torch.
    """
    package = name.partition(".")[0]
    try:
        import_module(package)
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise BackboneError(f"{name} cannot be imported: {error}") from error
        raise BackboneError(f"{package} is not installed; pip install 'sfgsearch[{extra}]'") from error
    except Exception as error:  # whatever goes wrong in code that was built for another torch
        reason = " ".join(str(error).split())[:200]
        raise BackboneError(
            f"{name} cannot be imported: {reason}; install releases of torch and {name} that belong together"
        ) from error


def _check_model(model: str, library: str, known: Iterable[str]) -> None:
    names = list(known)
    if model not in names:
        close = difflib.get_close_matches(model, names, n=1)
        raise BackboneError(f"{library} has no model {model!r}{f'; did you mean {close[0]!r}?' if close else ''}")


@backbones.register("timm")
def timm(
    image_shape: tuple[int, ...], *, model: str, pretrained: bool = False, arguments: dict[str, Any] | None = None
) -> nn.Module:
    """Build a model of timm without its classifier.

    Args:
        image_shape: (C, H, W).
        model: Its name, as :func:`timm.list_models` has it, with a tag after a dot for certain weights.
        pretrained: Whether it starts from the weights that timm publishes.
        arguments: Further arguments of :func:`timm.create_model`, such as ``drop_path_rate``.

    Raises:
        BackboneError: If timm is missing or has no such model or weights.
    """
    library = _library("timm", "timm")
    if not library.is_model(model):
        _check_model(model, "timm", library.list_models(pretrained=pretrained))
    options = {"in_chans": image_shape[0], "num_classes": 0, "global_pool": ""}
    built: nn.Module = library.create_model(model, pretrained=pretrained, **options, **(arguments or {}))
    with torch.no_grad(), evaluating(built):
        features = built(torch.zeros(2, *image_shape, device=next(built.parameters()).device))
    width = built.num_features
    if features.ndim == 4 and features.shape[1] != width and features.shape[-1] == width:
        built.register_forward_hook(_channels_first)
    if features.ndim == 3:  # tokens, from which timm's own pooling makes a vector
        del options["global_pool"]
        built = library.create_model(model, pretrained=pretrained, **options, **(arguments or {}))
    return built


def _channels_first(_model: nn.Module, _inputs: Any, features: Tensor) -> Tensor:
    """Return maps (B, H, W, C) as (B, C, H, W)."""
    return features.permute(0, 3, 1, 2)


@backbones.register("torchvision")
def torchvision(
    image_shape: tuple[int, ...], *, model: str, pretrained: bool = False, arguments: dict[str, Any] | None = None
) -> nn.Module:
    """Build a model of torchvision, for classification or segmentation.

    Args:
        image_shape: (C, H, W).
        model: Its name, as :func:`torchvision.models.list_models` has it.
        pretrained: Whether it starts from the best weights that torchvision publishes.
        arguments: Further arguments of the model, such as ``norm_layer`` or ``num_classes``.

    Raises:
        BackboneError: If torchvision is missing or has no such model.
    """
    models = _library("torchvision.models", "torchvision")
    _check_model(model, "torchvision", models.list_models())
    options: dict[str, Any] = {"weights": "DEFAULT" if pretrained else None, **(arguments or {})}
    takes_trunk = "weights_backbone" in inspect.signature(models.get_model_builder(model)).parameters
    built: nn.Module = models.get_model(model, **({"weights_backbone": None} if takes_trunk else {}), **options)
    transforms = models.get_model_weights(model).DEFAULT.transforms()
    known = {key: getattr(transforms, key) for key in ("mean", "std") if hasattr(transforms, key)}
    vars(built)["pretrained_cfg"] = known
    if hasattr(built, "transform_input"):  # which depends on weights otherwise, and fails for grey images
        vars(built)["transform_input"] = image_shape[0] == _COLOURS
    _adapt_first(built, image_shape[0])
    return built


def _adapt_first(network: nn.Module, channels: int) -> None:
    """Change the first convolution of a network for images of other channels."""
    found = ((path, module) for path, module in network.named_modules() if isinstance(module, CONVOLUTIONS))
    path, first = next(found, ("", None))
    if first is None or first.in_channels == channels:
        return
    adapted = adapt_channels(first.weight.detach(), torch.Size([first.out_channels, channels, *first.kernel_size]))
    if adapted.shape[1] != channels:
        raise BackboneError(f"{path}, its first convolution, cannot be changed for images of {channels} channels")
    first.weight, first.in_channels = nn.Parameter(adapted), channels


@backbones.register("monai")
def monai(image_shape: tuple[int, ...], *, model: str, arguments: dict[str, Any] | None = None) -> nn.Module:
    """Build a network of MONAI, for images or volumes.

    Args:
        image_shape: (C, *space).
        model: Name of a class in :mod:`monai.networks.nets`, such as ``"UNet"``.
        arguments: Its arguments besides those for dimensions and channels of images. Those without a default must be
            here, such as ``out_channels``: heads read what a network for dense predictions returns.

    Raises:
        BackboneError: If MONAI is missing, has no such network, or its arguments are not right.
    """
    nets = _library("monai.networks.nets", "volumes")
    known = {name: part for name, part in vars(nets).items() if inspect.isclass(part) and issubclass(part, nn.Module)}
    _check_model(model, "MONAI", known)
    takes = inspect.signature(known[model]).parameters
    shape = {"spatial_dims": len(image_shape) - 1, "in_channels": image_shape[0], "img_size": image_shape[1:]}
    options = {**{name: value for name, value in shape.items() if name in takes}, **(arguments or {})}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [n for n, one in takes.items() if one.default is one.empty and one.kind not in variadic]
    lacking = [name for name in required if name not in options]
    if lacking:
        raise BackboneError(f"{model} of MONAI needs {', '.join(lacking)}; give them in backbone.arguments")
    built: nn.Module = known[model](**options)
    return built
